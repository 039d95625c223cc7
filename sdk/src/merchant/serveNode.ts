import type { ServerResponse } from 'node:http'
import type { AdmittedCall } from './admit.ts'
import { createCopy, toBytes } from './createCopy.ts'
import { withoutTransport } from './keptHeaders.ts'

/**
 * Watches an answer of Node's HTTP server, whichever framework writes it. Everything that writes an answer's head
 * passes through one of four methods. Up to the first call of one of them the outcome is open; then it is decided by
 * the status: a good head gets the receipt, a 5xx is held back until its charge is released.
 */
export function serveNode(call: AdmittedCall, res: ServerResponse): void {
  const { writeHead, write, end, flushHeaders } = res
  /** Calls that wait for the release, in order. */
  const held: (() => void)[] = []
  const copy = createCopy()
  let outcome: 'open' | 'failing' | 'failed' | 'served' = 'open'

  function setHeaders(headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
  }

  /** True when the call may go on at once. */
  function decide(status: number): boolean {
    if (outcome !== 'open') return outcome !== 'failing'
    if (status < 500) {
      outcome = 'served'
      setHeaders(call.served())
      return true
    }
    outcome = 'failing'
    void call.release().then((headers) => {
      outcome = 'failed'
      setHeaders(headers)
      for (const later of held.splice(0)) later()
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
      if (!decide(res.statusCode)) {
        held.push(() => write.apply(res, args))
        return false
      }
      if (outcome === 'served') copy.add(toBytes(args[0], args[1]))
      return write.apply(res, args)
    },
    end(...args: Parameters<typeof end>) {
      if (!decide(res.statusCode)) {
        held.push(() => end.apply(res, args))
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
    flushHeaders() {
      if (decide(res.statusCode)) return flushHeaders.call(res)
      held.push(() => flushHeaders.call(res))
    },
  })

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

/** What an answer of Node says of itself. */
export function headersOf(res: ServerResponse): [string, string][] {
  const headers = Object.entries(res.getHeaders()).flatMap(([name, value]): [string, string][] => {
    if (Array.isArray(value)) return value.map((one) => [name, one])
    return value === undefined ? [] : [[name, String(value)]]
  })
  return withoutTransport(headers)
}
