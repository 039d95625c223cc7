import type { IncomingMessage, ServerResponse } from 'node:http'
import { paymentSignatureHeader } from '@protocolbanks/stream-protocol'
import { type Admission, admit } from './admit.ts'
import type { Charger } from './charger.ts'
import { writeParsedBody } from './requestBody.ts'
import { serveMeteredNode } from './serveMeteredNode.ts'
import { serveNode } from './serveNode.ts'

/** What Express, Fastify and NestJS add to a request. */
export type ParsedRequest = Pick<IncomingMessage, 'headers' | 'socket'> & {
  method?: string | undefined
  url?: string | undefined
  originalUrl?: string | undefined
  protocol?: string | undefined
  ip?: string | undefined
  body?: unknown
}

/**
 * Charges, calls `next`, and watches the answer: a failed one is held back until its charge is released.
 *
 * The body counts for the request id when a parser ran before (`app.use(express.json())`).
 */
export async function serveExpress(
  charger: Charger,
  req: ParsedRequest,
  res: ServerResponse,
  next: (error?: unknown) => void,
): Promise<void> {
  const admission = await admitParsed(charger, req)
  if (enter(admission, res)) next()
}

/** Charges a request whose body, if it has one, was parsed before. */
export async function admitParsed(charger: Charger, req: ParsedRequest): Promise<Admission> {
  const signature = req.headers[paymentSignatureHeader]
  const path = req.originalUrl ?? req.url ?? '/'
  return admit(charger, {
    method: req.method ?? 'GET',
    url: `${req.protocol ?? 'http'}://${req.headers.host ?? 'localhost'}${path}`,
    header: (name) => {
      const value = req.headers[name.toLowerCase()]
      return Array.isArray(value) ? value.join(', ') : value
    },
    body: writeParsedBody(req.body),
    handles: [req],
    paymentSignature: typeof signature === 'string' ? signature : null,
    // The framework's own honours its settings about proxies.
    clientAddress: req.ip ?? req.socket.remoteAddress,
  })
}

/** True when the handler is to run. Else the answer is given, or there is nobody left to give one to. */
export function enter(admission: Admission, res: ServerResponse): boolean {
  if (admission.kind === 'answer') {
    const { status, headers, body } = admission.answer
    for (const [name, value] of headers) res.appendHeader(name, value)
    res.statusCode = status
    res.end(body)
    return false
  }
  const { call } = admission
  if (res.destroyed) {
    void call.release()
    return false
  }
  if (call.metered) serveMeteredNode(call, call.metered, res)
  else serveNode(call, res)
  return true
}
