import { rootOf, type TraceContext } from '@protocolbanks/stream-runtime'

/**
 * The trace that an event belongs to: of the settlement that it is about, whose id has the trace's. Events about anything
 * else belong to none.
 */
export function traceOfEvent(data: unknown): TraceContext | undefined {
  const settlementId =
    typeof data === 'object' && data !== null && 'settlementId' in data ? data.settlementId : undefined
  const [, traceId] = (typeof settlementId === 'string' && /^stl_([0-9a-f]{32})$/.exec(settlementId)) || []
  return traceId === undefined ? undefined : rootOf(traceId, { isSampled: false })
}
