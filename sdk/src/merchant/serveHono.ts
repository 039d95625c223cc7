import { paymentSignatureHeader } from '@protocolbanks/stream-protocol'
import type { Context, Next } from 'hono'
import type { Charger } from './charger.ts'
import { sha256 } from './sha256.ts'

/** Larger bodies are not part of what a request id stands for; the gateway's own bound. */
const maxHashedBytes = 64 * 1024

/** Charges, lets the handlers run, then releases a charge whose answer is a 5xx. */
export async function serveHono(charger: Charger, c: Context, next: Next): Promise<Response | undefined> {
  const { client, service, amountAtomic } = charger
  const result = await client.charge({
    service,
    amountAtomic,
    method: c.req.method,
    url: c.req.url,
    bodyHash: await hashBody(c),
    paymentSignature: c.req.header(paymentSignatureHeader) ?? null,
    clientAddress: remoteAddressOf(c),
  })
  if (result.outcome === 'answer') {
    return new Response(result.body, { status: result.status, headers: result.headers })
  }

  try {
    await next()
  } catch (error) {
    await client.release(result.ticket)
    throw error
  }
  if (c.res.status >= 500) {
    await client.release(result.ticket)
    return undefined
  }
  for (const [name, value] of Object.entries(result.headers)) c.header(name, value)
  client.served(result.ticket)
  return undefined
}

/** Of the connection, where Hono runs on a server of Node; other platforms are not asked. */
function remoteAddressOf({ env }: Context): string | undefined {
  const { incoming } = (env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } }
  return incoming?.socket?.remoteAddress
}

/** Hono keeps what was read, so the handlers can read the body again. */
async function hashBody(c: Context): Promise<string | undefined> {
  const length = Number(c.req.header('content-length') ?? Number.NaN)
  if (!(length > 0 && length <= maxHashedBytes)) return undefined
  return sha256(await c.req.arrayBuffer())
}
