import {
  formatTraceparent,
  httpAttributes,
  parseTraceparent,
  rootOf,
  type Tracing,
  traceIdOf,
} from '@protocolbanks/stream-runtime'
import type { Context, MiddlewareHandler } from 'hono'
import { headerOf } from '../payment/headerOf.ts'

/** Where a request belongs, and its span; the span is silent when the trace is not recorded. */
export type RequestTrace = ReturnType<Tracing['start']>

export type RequestTracerDeps = {
  tracing: Pick<Tracing, 'isSampled' | 'start'>
  clock(): number
  /** A random UUID. */
  createId(): string
}

/**
 * Gives every request its trace: the one of its `traceparent` (W3C Trace Context), else a new one. The trace id is the
 * correlation id: in the log, in the receipt, in the journal, and in `traceresponse` of the answer.
 *
 * Whether it is recorded is decided here, by the trace id alone. Who calls may not decide what we spend on it.
 */
export function traceRequests(deps: RequestTracerDeps): MiddlewareHandler {
  return async (c, next) => {
    const trace = beginTrace(headerOf(c, 'traceparent'), deps)
    c.set('trace', trace)
    await next()
    // A paid answer has it already: to set one more header makes the others anew.
    if (c.get('traceTold') !== true) c.res.headers.set('traceresponse', formatTraceparent(trace.context))
    if (!trace.context.isSampled) return
    trace.set(httpAttributes({ method: c.req.method, path: c.req.path, status: c.res.status }))
    trace.end(c.res.status >= 500 ? `answered ${c.res.status}` : undefined)
  }
}

/** The correlation id of a request; undefined where nothing traces requests. */
export function requestTraceId(c: Context): string | undefined {
  const trace: RequestTrace | undefined = c.get('trace')
  return trace?.context.traceId
}

function beginTrace(traceparent: string | undefined, { tracing, clock, createId }: RequestTracerDeps): RequestTrace {
  const parent = parseTraceparent(traceparent)
  const traceId = parent?.traceId ?? newTraceId(clock(), createId)
  const isSampled = tracing.isSampled(traceId)
  if (parent) return tracing.start('request', { in: { ...parent, isSampled }, kind: 'server' })
  return tracing.start('request', { in: rootOf(traceId, { isSampled }), isRoot: true, kind: 'server' })
}

/** A version 7 UUID (RFC 9562) without dashes: sorts by time, so that the journal's index of trace ids grows at its end. */
function newTraceId(nowMs: number, createId: () => string): string {
  const random = traceIdOf(createId())
  return `${nowMs.toString(16).padStart(12, '0')}7${random.slice(13)}`
}
