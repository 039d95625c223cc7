import type { GrantSpent } from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import { formatAmount } from '@protocolbanks/stream-protocol'
import { applyRules, createRulesState, type Finding, type RulesOptions, type RulesState } from '../rules/firstRules.ts'
import type { Charge, Found } from '../watch/createWatch.ts'
import type { Judgement } from '../watch/judgement.ts'
import type { OnProbation } from './breakerWorker.ts'

export type ProbationDeps = {
  /** Of grants that are not on probation. */
  rules: RulesOptions
  decimals: number
  /** What grants spent so far. */
  loadSpent(grantIds: readonly Hex[]): Promise<GrantSpent[]>
}

export type Probation = {
  /** All grants that are on probation now. */
  set(grants: readonly OnProbation[]): Promise<void>
  /** What the tighter limits say of charges since a grant went on; each once, however often it is told. */
  judge(charges: readonly Charge[]): Found[]
  /** Whether what was found began before the grant went on: its owner has decided on that. */
  isFromBefore(found: Found): boolean
}

type OnTrial = { sinceMs: number; rules: RulesState; seen: Set<string> }

const version = 1
/** Requests of one grant that are remembered, to count each once. */
const mostSeen = 5_000
const mostGrants = 10_000

/**
 * The limits of a grant that was stopped and goes on, for as long as its breaker is half open: half of the calls in a
 * minute, five times instead of ten times the average amount, and no warm-up. They come on top of all that judges it anyway.
 */
export function createProbation({ rules, decimals, loadSpent }: ProbationDeps): Probation {
  const tight = tighten(rules)
  const grants = new Map<Hex, OnTrial>()

  function judgeOne(charge: Charge): Found[] {
    const trial = grants.get(charge.grantId)
    if (!trial || charge.atMs < trial.sinceMs || trial.seen.has(nameOf(charge))) return []
    trial.seen.add(nameOf(charge))
    const [oldest] = trial.seen
    if (trial.seen.size > mostSeen && oldest !== undefined) trial.seen.delete(oldest)
    const { atMs, amountAtomic } = charge
    // Without a budget no rule speaks of what is left of it.
    const event = { atMs, amountAtomic, remainingBudgetAtomic: 0n, budgetAtomic: 0n }
    return applyRules(trial.rules, event, tight).flatMap((finding) => {
      const judgement = tell(finding, (atomic) => formatAmount(atomic, decimals))
      return judgement ? [{ ...judgement, charge }] : []
    })
  }

  return {
    async set(wanted) {
      const kept = new Map(wanted.slice(0, mostGrants).map(({ grantId, since }) => [grantId, since.getTime()]))
      for (const grantId of grants.keys()) if (!kept.has(grantId)) grants.delete(grantId)
      const fresh = [...kept].filter(([grantId, sinceMs]) => grants.get(grantId)?.sinceMs !== sinceMs)
      if (fresh.length === 0) return
      const spent = new Map((await loadSpent(fresh.map(([grantId]) => grantId))).map((one) => [one.grantId, one]))
      for (const [grantId, sinceMs] of fresh) {
        const { calls = 0, spentAtomic = 0n, largestAtomic = 0n } = spent.get(grantId) ?? {}
        const state = { ...createRulesState(), calls, spentAtomic, largestAtomic, firstMs: sinceMs }
        grants.set(grantId, { sinceMs, rules: state, seen: new Set() })
      }
    },
    isFromBefore({ inputs, charge }) {
      const trial = grants.get(charge.grantId)
      const beganMs = inputs.sinceMs === undefined ? charge.atMs : Number(inputs.sinceMs)
      return trial !== undefined && beganMs < trial.sinceMs
    },
    judge: (charges) => (grants.size === 0 ? [] : charges.flatMap(judgeOne)),
  }
}

/** A request's id belongs to its channel. */
function nameOf({ payee, requestId }: Charge): string {
  return `${payee} ${requestId}`
}

function tighten(rules: RulesOptions): RulesOptions {
  const half = (times: bigint) => (times > 1n ? times / 2n : 1n)
  return {
    ...rules,
    largestTimesAverage: half(rules.largestTimesAverage),
    familiarTimesLargest: half(rules.familiarTimesLargest),
    mostCallsPerMinute: Math.max(1, Math.floor(rules.mostCallsPerMinute / 2)),
    rateWarmUpMs: 0,
  }
}

function tell(finding: Finding, money: (atomic: bigint) => string): Judgement | undefined {
  const stop = { ruleVersion: version, action: 'freeze', severity: 'critical', ruleId: null } as const
  switch (finding.rule) {
    case 'amount.above_average': {
      const [amount, average] = [finding.amountAtomic, finding.averageAtomic]
      return {
        ...stop,
        rule: 'half_open.amount',
        inputs: { amountAtomic: amount.toString(), averageAtomic: average.toString() },
        explanation: `It had just gone on, and one call cost ${money(amount)}; the calls before cost ${money(average)} on average.`,
      }
    }
    case 'calls.per_minute':
      return {
        ...stop,
        rule: 'half_open.calls',
        inputs: { calls: `${finding.calls}`, sinceMs: `${finding.sinceMs}` },
        explanation: `It had just gone on, and made ${finding.calls} calls within a minute.`,
      }
    default:
      return undefined
  }
}
