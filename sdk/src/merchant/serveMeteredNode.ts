import type { ServerResponse } from 'node:http'
import { isEventStream } from '@protocolbanks/stream-protocol'
import type { AdmittedCall } from './admit.ts'
import { createCopy, toBytes } from './createCopy.ts'
import { withoutTransport } from './keptHeaders.ts'
import type { MeteredCall } from './meteredCall.ts'
import type { StreamCharge } from './passStream.ts'
import { isCompleteType, maxCompleteBytes } from './serveMeteredFetch.ts'
import { headersOf } from './serveNode.ts'

/** What waits for a charge, at most; a handler that heeds no back-pressure is cut. */
const maxQueuedBytes = 16 * 1024 * 1024

type Queued = { bytes: Uint8Array; done: (() => void) | undefined }

/**
 * Watches an answer of Node's HTTP server whose price depends on what it used. Nothing of it leaves before it is known what
 * it is: one that is complete is charged first, so that its receipt tells what it cost; another is charged while it passes; a
 * 5xx is released.
 */
export function serveMeteredNode(call: AdmittedCall, metered: MeteredCall, res: ServerResponse): void {
  const { writeHead, write, end, flushHeaders } = res
  const copy = createCopy()
  /** What was written and has not left. */
  const queue: Queued[] = []
  let queuedBytes = 0
  let hasEnded = false
  let onEnd: (() => void) | undefined
  let stream: StreamCharge | undefined
  /** `open`: nothing has left; `busy`: something is under way, and the rest waits for it. */
  let phase: 'open' | 'settling' | 'streaming' | 'busy' | 'over' = 'open'

  function setHeaders(headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
  }

  const typeOf = () => {
    const type = res.getHeader('content-type')
    return type === undefined ? undefined : String(type)
  }

  const put = (bytes: Uint8Array) => void write.call(res, bytes, 'utf8')

  /** Takes in what was written, and decides as soon as it is clear what the answer is. */
  function advance(): void {
    if (phase === 'open') decide()
    if (phase === 'streaming') pump()
  }

  function decide(): void {
    if (res.statusCode >= 500) {
      phase = 'settling'
      void call.release().then(leaveWith)
      return
    }
    const isComplete = isCompleteType(typeOf()) && queuedBytes <= maxCompleteBytes
    if (hasEnded && !isEventStream(typeOf()) && (isComplete || queue.length <= 1)) {
      phase = 'settling'
      const answer = { status: res.statusCode, contentType: typeOf(), body: joined(queue) }
      void metered.complete(answer).then((headers) => {
        setHeaders(headers)
        leaveWith({})
      })
    } else if (!isComplete) {
      phase = 'streaming'
      stream = metered.begin({ status: res.statusCode, contentType: typeOf() })
      setHeaders(metered.headers)
      // Events of ours come in between.
      if (isEventStream(typeOf())) res.removeHeader('content-length')
      flushHeaders.call(res)
    }
  }

  /** The whole answer as it is, or its start, after which the handler goes on by itself. */
  function leaveWith(headers: Record<string, string>): void {
    setHeaders(headers)
    const waiting = queue.splice(0)
    phase = 'over'
    if (!hasEnded) {
      for (const { bytes, done } of waiting) write.call(res, bytes, 'utf8', done)
      res.emit('drain')
      return
    }
    const body = joined(waiting)
    end.call(res, body, 'utf8', onEnd)
    for (const { done } of waiting) done?.()
    if (res.statusCode < 500) call.end({ status: res.statusCode, headers: withoutTransport(headersOf(res)), body })
  }

  /** Passes on what is there, until a voucher has to be waited for. */
  function pump(): void {
    if (!stream) return
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { bytes, done } = next
      queuedBytes -= bytes.byteLength
      copy.add(bytes)
      const goesOn = bytes.byteLength === 0 || stream.pass(bytes, put)
      if (goesOn === true) done?.()
      else if (goesOn === false) {
        cut()
        return
      } else {
        phase = 'busy'
        void goesOn.then((isPaid) => {
          if (phase !== 'busy') return
          if (!isPaid) {
            cut()
            return
          }
          phase = 'streaming'
          done?.()
          pump()
          if (phase === 'streaming' && !res.writableNeedDrain) res.emit('drain')
        }, fail)
        return
      }
    }
    if (!hasEnded) return
    phase = 'busy'
    const finish = (bytes: Uint8Array<ArrayBuffer>) => {
      copy.add(bytes)
      put(bytes)
    }
    void stream.finish(finish).then(() => {
      if (phase !== 'busy') return
      phase = 'over'
      const body = copy.bytes()
      end.call(res, new Uint8Array(), 'utf8', onEnd)
      call.end(body ? { status: res.statusCode, headers: withoutTransport(headersOf(res)), body } : 'given')
    }, fail)
  }

  /** Not paid any further: events have said so, of anything else the connection breaks. */
  function cut(): void {
    phase = 'over'
    queue.length = 0
    stream?.leave()
    call.end('given')
    if (isEventStream(typeOf())) end.call(res, new Uint8Array(), 'utf8')
    else res.destroy()
  }

  function fail(error: Error): void {
    if (phase !== 'over') cut()
    res.destroy(error)
  }

  function take(chunk: unknown, encoding: unknown, done: (() => void) | undefined): boolean {
    const bytes = toBytes(chunk, encoding)
    if (!bytes) throw new TypeError(`An answer that is priced by use is written in UTF-8 or bytes, not in ${encoding}.`)
    queue.push({ bytes: bytes.slice(), done })
    queuedBytes += bytes.byteLength
    advance()
    if (queuedBytes > maxQueuedBytes) cut()
    return queue.length === 0 && phase === 'streaming' && !res.writableNeedDrain
  }

  Object.assign(res, {
    writeHead(status: number, ...rest: unknown[]) {
      // Node's own methods write the head by this one.
      if (phase !== 'open') return writeHead.call(res, status, ...(rest as never[]))
      res.statusCode = status
      if (typeof rest[0] === 'string') res.statusMessage = rest[0]
      for (const [name, value] of headerPairs(rest.at(-1))) res.setHeader(name, value)
      return res
    },
    write(chunk: unknown, ...rest: unknown[]) {
      const [encoding, done] = argumentsOf(rest)
      if (phase === 'over') return stream ? false : write.call(res, chunk, encoding as 'utf8', done)
      return take(chunk, encoding, done)
    },
    end(...args: unknown[]) {
      const [chunk, ...rest] = typeof args[0] === 'function' ? [undefined, ...args] : args
      const [encoding, done] = argumentsOf(rest)
      if (phase === 'over') return stream ? res : end.call(res, chunk ?? new Uint8Array(), encoding as 'utf8', done)
      if (hasEnded) return res
      hasEnded = true
      onEnd = done
      take(chunk ?? '', encoding, undefined)
      return res
    },
    flushHeaders() {
      // Of an answer that comes in one piece the head waits for it.
      if (phase !== 'open') return
      if (res.statusCode >= 500 || !isCompleteType(typeOf())) advance()
    },
  })

  res.once('close', () => {
    if (phase === 'open') {
      // The agent left before there was an answer: nothing was served.
      phase = 'over'
      void call.release()
    } else if (phase === 'streaming' || phase === 'busy') {
      // Left by the agent, or destroyed with an error by the handler: what was delivered is paid.
      phase = 'over'
      queue.length = 0
      stream?.leave()
      call.end('given')
    }
  })
}

function joined(parts: readonly Queued[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, { bytes }) => size + bytes.byteLength, 0))
  let offset = 0
  for (const { bytes } of parts) {
    whole.set(bytes, offset)
    offset += bytes.byteLength
  }
  return whole
}

/** `(encoding?, callback?)`, as Node takes them. */
function argumentsOf(rest: unknown[]): [unknown, (() => void) | undefined] {
  const done = rest.find((one) => typeof one === 'function') as (() => void) | undefined
  return [typeof rest[0] === 'string' ? rest[0] : undefined, done]
}

type HeaderValue = string | number | readonly string[]

/** Headers as `writeHead` takes them: an object, pairs, or names and values in turn. */
function headerPairs(headers: unknown): [string, HeaderValue][] {
  if (Array.isArray(headers)) {
    if (Array.isArray(headers[0])) return headers as [string, HeaderValue][]
    return headers.flatMap((name, index): [string, HeaderValue][] =>
      index % 2 === 0 ? [[String(name), headers[index + 1]]] : [],
    )
  }
  if (typeof headers !== 'object' || headers === null) return []
  return Object.entries(headers as Record<string, HeaderValue | undefined>).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] satisfies [string, HeaderValue]],
  )
}
