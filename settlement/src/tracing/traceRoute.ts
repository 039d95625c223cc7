import { rootOf, runInTrace, type TraceContext, type Tracing, traceIdOf } from '@protocolbanks/stream-runtime'
import type { Batch, Route } from '../worker/route.ts'
import type { SettlementReporter } from './settlementReporter.ts'
import { settlementTrace } from './settlementTrace.ts'

export type TraceRouteDeps = {
  tracing: Tracing
  reporter: Pick<SettlementReporter, 'confirmed'>
  /** A random UUID. */
  createId(): string
}

/**
 * The same route, whose every look at a settlement is a span of the settlement's trace, with its ids in every line that is
 * logged meanwhile. What several settlements have in common, a transaction, has a trace of its own with links to theirs.
 */
export function traceRoute(route: Route, { tracing, reporter, createId }: TraceRouteDeps): Route {
  return {
    ...route,
    async settle(batch, signal) {
      const { context, isRoot, links, fields } = describe(batch)
      const span = tracing.start('settle', { in: context, ...(isRoot && { isRoot }), links })
      const results = await runInTrace(span.context, fields, () => route.settle(batch, signal))
      const [first] = results
      span.set({ 'stream.batch.size': batch.works.length, 'stream.settle.outcome': first?.outcome ?? 'lost' })
      span.end(first && 'code' in first ? first.code : undefined)
      for (const [index, result] of results.entries()) {
        const work = batch.works[index]
        if (work && result.outcome === 'confirmed') await reporter.confirmed(work, result.paid)
      }
      return results
    },
  }

  function describe({ works, transaction }: Batch): {
    context: TraceContext
    isRoot?: true
    links: TraceContext[]
    fields: Record<string, string>
  } {
    const [only, ...others] = works.map(({ settlement }) => settlement)
    if (only && others.length === 0 && route.name === 'user-operation') {
      const fields = { settlement: only.id, grantId: only.grantId }
      return { context: settlementTrace(tracing, only.id), links: [], fields }
    }
    const traceId = traceIdOf(createId())
    return {
      context: rootOf(traceId, { isSampled: tracing.isSampled(traceId) }),
      isRoot: true,
      links: works.map(({ settlement }) => settlementTrace(tracing, settlement.id)),
      fields: transaction ? { settlementTransaction: transaction.id } : {},
    }
  }
}
