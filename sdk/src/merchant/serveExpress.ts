import type { IncomingMessage, ServerResponse } from 'node:http'
import { paymentSignatureHeader } from '@protocolbanks/stream-protocol'
import type { Charger } from './charger.ts'
import { sha256 } from './sha256.ts'

/** What Express adds to a request. */
type ExpressRequest = IncomingMessage & { originalUrl?: string; protocol?: string; ip?: string; body?: unknown }

/**
 * Charges, calls `next`, and watches the answer: a 5xx is held back until its charge is released.
 *
 * The body counts for the request id when a parser ran before (`app.use(express.json())`).
 */
export async function serveExpress(
  charger: Charger,
  req: ExpressRequest,
  res: ServerResponse,
  next: (error?: unknown) => void,
): Promise<void> {
  const { client, service, amountAtomic } = charger
  const signature = req.headers[paymentSignatureHeader]
  const result = await client.charge({
    service,
    amountAtomic,
    method: req.method ?? 'GET',
    url: urlOf(req),
    bodyHash: await hashBody(req.body),
    paymentSignature: typeof signature === 'string' ? signature : null,
    // Express' own honours its setting `trust proxy`.
    clientAddress: req.ip ?? req.socket.remoteAddress,
  })
  if (result.outcome === 'answer') {
    res.writeHead(result.status, result.headers)
    res.end(result.body)
    return
  }

  const { ticket, headers } = result
  if (res.destroyed) {
    await client.release(ticket)
    return
  }
  watch(res, {
    onServed() {
      for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
      client.served(ticket)
    },
    onFailed: () => client.release(ticket),
  })
  next()
}

type Watcher = {
  /** The head of a good answer is about to be written. */
  onServed(): void
  /** The answer is a 5xx, or the agent left before there was one. A 5xx is written when this resolves. */
  onFailed(): Promise<void>
}

/**
 * Everything that writes an answer's head passes through one of four methods. Up to the first call of one of them the
 * outcome is open; then it is decided by the status, and the methods are put back.
 */
function watch(res: ServerResponse, { onServed, onFailed }: Watcher): void {
  const { writeHead, write, end, flushHeaders } = res
  /** Calls that wait for the release, in order. */
  const held: (() => void)[] = []
  let decided = false

  function restore(): void {
    Object.assign(res, { writeHead, write, end, flushHeaders })
  }

  /** True when the call may go on at once. */
  function decide(status: number): boolean {
    if (decided) return held.length === 0
    decided = true
    if (status < 500) {
      restore()
      onServed()
      return true
    }
    void onFailed().finally(() => {
      restore()
      for (const call of held) call()
      res.emit('drain')
    })
    return false
  }

  Object.assign(res, {
    writeHead(status: number, ...rest: never[]) {
      if (decide(status)) return writeHead.call(res, status, ...rest)
      res.statusCode = status
      held.push(() => writeHead.call(res, status, ...rest))
      return res
    },
    write(...args: Parameters<typeof write>) {
      if (decide(res.statusCode)) return write.apply(res, args)
      held.push(() => write.apply(res, args))
      return false
    },
    end(...args: Parameters<typeof end>) {
      if (decide(res.statusCode)) return end.apply(res, args)
      held.push(() => end.apply(res, args))
      return res
    },
    flushHeaders() {
      if (decide(res.statusCode)) return flushHeaders.call(res)
      held.push(() => flushHeaders.call(res))
    },
  })

  // The agent left before there was an answer: nothing was served.
  res.once('close', () => {
    if (decided) return
    decided = true
    restore()
    void onFailed()
  })
}

function urlOf(req: ExpressRequest): string {
  const path = req.originalUrl ?? req.url ?? '/'
  return `${req.protocol ?? 'http'}://${req.headers.host ?? 'localhost'}${path}`
}

/** Of a parsed body; equal bodies have equal hashes. */
async function hashBody(body: unknown): Promise<string | undefined> {
  if (body === undefined || body === null) return undefined
  if (body instanceof Uint8Array) return sha256(new Uint8Array(body))
  return sha256(new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body)))
}
