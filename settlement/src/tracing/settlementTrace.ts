import { rootOf, type TraceContext, type Tracing } from '@protocolbanks/stream-runtime'

/**
 * The trace of a settlement: its id is the UUID in the settlement's own, so that every worker that takes it up, after
 * whatever crash, goes on with the same one.
 */
export function settlementTrace(tracing: Pick<Tracing, 'isSampled'>, settlementId: string): TraceContext {
  const traceId = settlementId.slice(settlementId.indexOf('_') + 1)
  return rootOf(traceId, { isSampled: tracing.isSampled(traceId) })
}
