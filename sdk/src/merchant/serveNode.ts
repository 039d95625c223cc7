import type { ServerResponse } from 'node:http'
import type { AdmittedCall } from './admit.ts'
import { createCopy, toBytes } from './createCopy.ts'
import type { KeptAnswer } from './keptAnswers.ts'
import { withoutTransport } from './keptHeaders.ts'

/** Of what is held back while the payment moves; a handler that heeds no back-pressure is cut. */
const maxHeldBytes = 16 * 1024 * 1024

type Held = { run(): void; done: (() => void) | undefined }

/**
 * Watches an answer of Node's HTTP server, whichever framework writes it. Everything that writes an answer's head
 * passes through one of four methods. Up to the first call of one of them the outcome is open; then it is decided by
 * the status: a good head gets the receipt, once the payment has moved where it has to; a failed one is held back until its
 * charge is released.
 */
export function serveNode(call: AdmittedCall, res: ServerResponse): void {
  const { writeHead, write, end, flushHeaders } = res
  /** What was set before the handler ran. */
  const headersBefore = { ...res.getHeaders() }
  /** Calls that wait for the release or the payment, in order. */
  const held: Held[] = []
  let heldBytes = 0
  let hasHeldEnd = false
  const copy = createCopy()
  let outcome: 'open' | 'holding' | 'failed' | 'served' | 'replaced' = 'open'

  function setHeaders(headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
  }

  /** True when the call may go on at once. */
  function decide(status: number): boolean {
    if (outcome !== 'open') return outcome !== 'holding'
    const isGood = status < call.failsFrom
    if (isGood && !call.settle) {
      outcome = 'served'
      setHeaders(call.served())
      return true
    }
    outcome = 'holding'
    if (isGood && call.settle) void call.settle().then((instead) => afterSettling(status, instead))
    else void call.release().then((headers) => goOn('failed', status, headers))
    return false
  }

  function afterSettling(status: number, instead: KeptAnswer | undefined): void {
    if (instead) replaceBy(instead)
    // Nobody is there any more: what was paid for is given to whoever comes with the same payment.
    else if (res.destroyed) void call.release().then((headers) => goOn('failed', status, headers))
    else goOn('served', status, call.served())
  }

  function goOn(next: 'failed' | 'served', status: number, headers: Record<string, string>): void {
    outcome = next
    hasHeldEnd = false
    res.statusCode = status
    setHeaders(headers)
    for (const { run } of held.splice(0)) run()
    res.emit('drain')
  }

  /** Nothing of the handler's answer leaves. */
  function replaceBy({ status, headers, body }: KeptAnswer): void {
    outcome = 'replaced'
    for (const name of res.getHeaderNames()) res.removeHeader(name)
    for (const [name, value] of Object.entries(headersBefore)) if (value !== undefined) res.setHeader(name, value)
    for (const [name, value] of headers) res.appendHeader(name, value)
    res.setHeader('content-length', body.byteLength)
    res.statusMessage = ''
    writeHead.call(res, status)
    end.call(res, body, 'utf8')
    for (const { done } of held.splice(0)) done?.()
  }

  /** Later, unless something else is answered by then. */
  function hold(run: () => void, args: unknown[] = []): void {
    held.push({ run, done: callbackOf(args) })
  }

  const watched = {
    writeHead(status: number, ...rest: never[]): ServerResponse {
      if (outcome === 'replaced') return res
      if (decide(status)) return writeHead.call(res, status, ...rest)
      res.statusCode = status
      hold(() => watched.writeHead(status, ...rest))
      return res
    },
    write(...args: Parameters<typeof write>): boolean {
      if (outcome === 'replaced' || hasHeldEnd) return ignore(args)
      if (!decide(res.statusCode)) {
        hold(() => watched.write(...args), args)
        heldBytes += toBytes(args[0], args[1])?.byteLength ?? String(args[0]).length
        if (heldBytes > maxHeldBytes) res.destroy()
        return false
      }
      if (outcome === 'served') copy.add(toBytes(args[0], args[1]))
      return write.apply(res, args)
    },
    end(...args: Parameters<typeof end>): ServerResponse {
      if (outcome === 'replaced' || hasHeldEnd) {
        ignore(args)
        return res
      }
      if (!decide(res.statusCode)) {
        hasHeldEnd = true
        hold(() => watched.end(...args), args)
        return res
      }
      if (outcome !== 'served' || res.writableEnded) return end.apply(res, args)
      copy.add(toBytes(args[0], args[1]))
      const result = end.apply(res, args)
      // `end` may be what writes the head: its headers are known now.
      const body = copy.bytes()
      call.end(body ? { status: res.statusCode, headers: headersOf(res), body } : 'given')
      return result
    },
    flushHeaders(): void {
      if (outcome === 'replaced') return
      if (decide(res.statusCode)) flushHeaders.call(res)
      else hold(() => watched.flushHeaders())
    },
  }
  Object.assign(res, watched)

  res.once('close', () => {
    if (outcome === 'open') {
      // The agent left before there was an answer: nothing was served.
      outcome = 'failed'
      void call.release()
    } else if (outcome === 'served' && !res.writableEnded) {
      // Destroyed with an error by the handler, or left by the agent, who pays for what was delivered.
      call.end(res.errored ? 'broken' : 'given')
    }
  })
}

/** What comes after the end, or after another answer: nobody reads it. */
function ignore(args: unknown[]): boolean {
  const done = callbackOf(args)
  if (done) process.nextTick(done)
  return true
}

function callbackOf(args: unknown[]): (() => void) | undefined {
  return args.find((one) => typeof one === 'function') as (() => void) | undefined
}

/** What an answer of Node says of itself. */
export function headersOf(res: ServerResponse): [string, string][] {
  const headers = Object.entries(res.getHeaders()).flatMap(([name, value]): [string, string][] => {
    if (Array.isArray(value)) return value.map((one) => [name, one])
    return value === undefined ? [] : [[name, String(value)]]
  })
  return withoutTransport(headers)
}
