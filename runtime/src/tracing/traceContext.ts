import { parseTraceParent } from '@opentelemetry/core'

/** A place in a trace, as W3C Trace Context carries it from one process to the next. */
export type TraceContext = {
  /** 32 hex digits. The correlation id: one for a request, one for a settlement. */
  traceId: string
  /** 16 hex digits. */
  spanId: string
  /** Whether spans of the trace are recorded. */
  isSampled: boolean
}

/** `traceparent` as received; undefined when there is none or it is not valid. */
export function parseTraceparent(header: string | undefined): TraceContext | undefined {
  const parsed = header === undefined ? null : parseTraceParent(header)
  if (!parsed) return undefined
  return { traceId: parsed.traceId, spanId: parsed.spanId, isSampled: (parsed.traceFlags & 1) === 1 }
}

/** Also of `traceresponse`. */
export function formatTraceparent({ traceId, spanId, isSampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`
}

/** The trace id that a UUID is without its dashes. @example traceIdOf(randomUUID()) */
export function traceIdOf(uuid: string): string {
  return uuid.replaceAll('-', '')
}

/** The root of a trace whose id is ours has a span id that follows from it: whoever continues the trace knows its root. */
export function rootOf(traceId: string, { isSampled }: { isSampled: boolean }): TraceContext {
  return { traceId, spanId: traceId.slice(16), isSampled }
}
