import type { Attributes } from '@opentelemetry/api'
import type { Tracing } from './createTracing.ts'
import { formatTraceparent } from './traceContext.ts'
import { currentTrace, runInTrace } from './traceScope.ts'

/**
 * Runs `work` as a span of the trace that the caller runs in; outside of a trace, or when it is not recorded, just runs it.
 *
 * @example const hash = await inSpan(tracing, 'send', {}, () => bundler.send(op))
 */
export async function inSpan<T>(
  tracing: Pick<Tracing, 'start'>,
  name: string,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  const scope = currentTrace()
  if (!scope?.context.isSampled) return work()
  const span = tracing.start(name, { in: scope.context, kind: 'client', attributes })
  try {
    const result = await runInTrace(span.context, {}, work)
    span.end()
    return result
  } catch (error) {
    span.end(firstLine(error))
    throw error
  }
}

/** `traceparent` for a call of another service: of the trace that the caller runs in, if any. */
export function outgoingTrace(): Record<string, string> {
  const scope = currentTrace()
  return scope ? { traceparent: formatTraceparent(scope.context) } : {}
}

/** What follows in a library's message may have addresses, which carry keys. */
function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.split('\n')[0]?.slice(0, 200) ?? ''
}
