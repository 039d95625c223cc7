import { paymentSignatureHeader } from '@protocolbanks/stream-protocol'
import { admit } from './admit.ts'
import type { Charger } from './charger.ts'
import { readSmallBody } from './requestBody.ts'
import { serveFetch } from './serveFetch.ts'

/** A handler of the Fetch standard: Next.js' route handlers, Deno, Bun, Workers. */
export type RouteHandler<request extends Request, rest extends unknown[]> = (
  request: request,
  ...rest: rest
) => Response | Promise<Response>

/** Charges, lets the handler run, then releases a charge whose answer has failed. */
export async function serveRoute<request extends Request, rest extends unknown[]>(
  charger: Charger,
  handler: RouteHandler<request, rest>,
  request: request,
  rest: rest,
): Promise<Response> {
  const admission = await admit(charger, {
    method: request.method,
    url: request.url,
    header: (name) => request.headers.get(name) ?? undefined,
    handles: [request],
    body: await readSmallBody(request.headers.get('content-length'), () => request.clone().arrayBuffer()),
    paymentSignature: request.headers.get(paymentSignatureHeader),
  })
  return serveFetch(admission, async () => handler(request, ...rest), request.signal)
}
