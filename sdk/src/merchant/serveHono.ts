import { paymentSignatureHeader } from '@protocolbanks/stream-protocol'
import type { Context, Next } from 'hono'
import { admit } from './admit.ts'
import type { Charger } from './charger.ts'
import { readSmallBody } from './requestBody.ts'
import { serveFetch } from './serveFetch.ts'

/** Charges, lets the handlers run, then releases a charge whose answer has failed. */
export async function serveHono(charger: Charger, c: Context, next: Next): Promise<Response | undefined> {
  const admission = await admit(charger, {
    method: c.req.method,
    url: c.req.url,
    // Hono keeps what was read, so the handlers can read the body again.
    body: await readSmallBody(c.req.header('content-length'), () => c.req.arrayBuffer()),
    paymentSignature: c.req.header(paymentSignatureHeader) ?? null,
    header: (name) => c.req.header(name),
    handles: [c, c.req, c.req.raw],
    clientAddress: remoteAddressOf(c),
  })
  const serve = async () => {
    await next()
    return c.res
  }
  // What middlewares in front have set, as those for other origins do.
  const before = admission.kind === 'serve' && admission.call.settle ? new Headers(c.res.headers) : undefined
  const answer = await serveFetch(admission, serve, c.req.raw.signal, before)
  if (admission.kind === 'answer') return answer
  // Hono adds the headers of an answer that it replaces to the new one; this one has them all.
  c.res = undefined
  c.res = answer
  return undefined
}

/** Of the connection, where Hono runs on a server of Node; other platforms are not asked. */
function remoteAddressOf({ env }: Context): string | undefined {
  const { incoming } = (env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } }
  return incoming?.socket?.remoteAddress
}
