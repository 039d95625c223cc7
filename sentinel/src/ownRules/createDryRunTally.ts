import type { DryRunResult } from '@protocolbanks/stream-db'
import type { CompiledRule } from '@protocolbanks/stream-rules'
import type { Charge } from '../watch/createWatch.ts'
import type { OwnRule } from './ownRule.ts'

/** Counts what a rule would have done. */
export type DryRunTally = {
  /** Whether the charge would not have been made; then it is counted as such. */
  isStopped(charge: Charge): boolean
  /** What the rule says of a charge that would have been made. */
  take(
    charge: Charge,
    outcome: ReturnType<CompiledRule['evaluate']>,
    spared: boolean,
    values: () => Record<string, string>,
  ): void
  /** Not everything was read; the first reason counts. */
  cutShort(at: Date, reason: NonNullable<DryRunResult['cutShort']>['reason']): void
  end(learnedFrom: Date): DryRunResult
}

const mostStops = 100
const mostExamples = 10
const mostValueLength = 200

type Stop = DryRunResult['stops'][number] & { calls: number; atomic: bigint; untilMs: number }

export function createDryRunTally(rule: OwnRule): DryRunTally {
  const counts = { charges: 0, matched: 0, unknown: 0, failed: 0, spared: 0 }
  let firstFailure: string | null = null
  let cut: DryRunResult['cutShort'] = null
  const grants = new Set<string>()
  /** The newest of each grant, and the first of all. */
  const stopped = new Map<string, Stop>()
  const stops: Stop[] = []
  const examples: DryRunResult['examples'] = []
  let [stoppedCalls, stoppedAtomic] = [0, 0n]

  /** Of a merchant's rule, what goes elsewhere goes on. */
  const concerns = ({ payee }: Charge) => rule.merchantPayee === null || rule.merchantPayee === payee.toLowerCase()

  function stop({ grantId, payee, atMs, requestId }: Charge): void {
    const untilMs = rule.blockMs === null ? Number.POSITIVE_INFINITY : atMs + rule.blockMs
    const one: Stop = {
      grantId,
      payee: rule.merchantPayee === null ? null : payee,
      at: new Date(atMs).toISOString(),
      requestId,
      until: rule.blockMs === null ? null : new Date(untilMs).toISOString(),
      callsAfter: 0,
      atomicAfter: '0',
      calls: 0,
      atomic: 0n,
      untilMs,
    }
    stopped.set(grantId, one)
    if (stops.length < mostStops) stops.push(one)
  }

  return {
    isStopped(charge) {
      const by = stopped.get(charge.grantId)
      if (!by || charge.atMs >= by.untilMs || !concerns(charge)) return false
      by.calls++
      by.atomic += charge.amountAtomic
      stoppedCalls++
      stoppedAtomic += charge.amountAtomic
      return true
    },
    take(charge, outcome, spared, values) {
      grants.add(charge.grantId)
      counts.charges++
      if (outcome.is === 'unknown') counts.unknown++
      if (outcome.is === 'failed') {
        counts.failed++
        firstFailure ??= outcome.message.slice(0, mostValueLength)
      }
      if (outcome.is !== 'true') return
      counts.matched++
      const { grantId, payee, service, requestId, amountAtomic, atMs } = charge
      if (examples.length < mostExamples) {
        const read = Object.entries(values()).map(([name, value]) => [name, value.slice(0, mostValueLength)])
        const at = new Date(atMs).toISOString()
        examples.push({
          ...{ grantId, payee, service, requestId, at, amountAtomic: amountAtomic.toString() },
          values: Object.fromEntries(read),
        })
      }
      if (spared) counts.spared++
      else if (rule.action !== 'alert') stop(charge)
    },
    cutShort(at, reason) {
      cut ??= { at: at.toISOString(), reason }
    },
    end: (learnedFrom) => ({
      ...counts,
      firstFailure,
      grants: grants.size,
      stoppedGrants: stopped.size,
      stoppedCalls,
      stoppedAtomic: stoppedAtomic.toString(),
      stops: stops.map(({ calls, atomic, untilMs: _, ...told }) => ({
        ...told,
        callsAfter: calls,
        atomicAfter: atomic.toString(),
      })),
      examples,
      cutShort: cut,
      learnedFrom: learnedFrom.toISOString(),
    }),
  }
}
