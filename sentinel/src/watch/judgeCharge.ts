import type { IncidentAction, Severity } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import { applyRules, type Finding, type RulesOptions } from '../rules/firstRules.ts'
import { alarmScore } from '../scoring/detector.ts'
import type { GrantScore, GrantScorer } from '../scoring/grantScorer.ts'
import type { GrantMemory } from './grantMemory.ts'

/** One charge of a grant, and what it leaves. Base units. */
export type WatchedCharge = {
  atMs: number
  amountAtomic: bigint
  payee: string
  service: string
  host?: string | undefined
  remainingBudgetAtomic: bigint
  budgetAtomic: bigint
  /** Undefined when it is not known. */
  fundsAtomic?: bigint | undefined
}

/** What was found, so that it can be stored and told. */
export type Judgement = {
  rule: string
  ruleVersion: number
  action: IncidentAction
  severity: Severity
  ruleId: string | null
  inputs: Record<string, string>
  /** For the owner, in one sentence. */
  explanation: string
}

export type JudgeOptions = { rules: RulesOptions; scorer: GrantScorer; decimals: number; cooldownMs: number }

const rulesVersion = 1
const scoreVersion = 1
const behaviourRule = 'behaviour.unusual'

/** What the rules and the score say of a charge, which is taken into the memory, in place. Deterministic. */
export function judgeCharge(memory: GrantMemory, charge: WatchedCharge, options: JudgeOptions): Judgement[] {
  const money = (atomic: bigint) => formatAmount(atomic, options.decimals)
  const found = applyRules(memory.rules, charge, options.rules).map((finding) => tell(finding, money))
  const score = options.scorer.observe(memory.scorer, charge)
  if (score.score < alarmScore || charge.atMs < memory.quietUntilMs) return found
  memory.quietUntilMs = charge.atMs + options.cooldownMs
  return [...found, tellScore(score)]
}

function tell(finding: Finding, money: (atomic: bigint) => string): Judgement {
  const { rule, action, ...compared } = finding
  const inputs = Object.fromEntries(Object.entries(compared).map(([name, value]) => [name, value.toString()]))
  const severity = action === 'alert' ? 'warning' : 'critical'
  return {
    rule,
    ruleVersion: rulesVersion,
    action,
    severity,
    ruleId: null,
    inputs,
    explanation: explain(finding, money),
  }
}

function explain(finding: Finding, money: (atomic: bigint) => string): string {
  switch (finding.rule) {
    case 'amount.above_average':
      return `One call cost ${money(finding.amountAtomic)}; the calls before cost ${money(finding.averageAtomic)} on average.`
    case 'calls.per_minute':
      return `It made ${finding.calls} calls within a minute.`
    case 'budget.low':
      return `${money(finding.remainingAtomic)} of its budget of ${money(finding.ofAtomic)} are left.`
    case 'funds.low':
      return `The account can pay ${money(finding.remainingAtomic)} more; it was ${money(finding.ofAtomic)}.`
  }
}

const subjects = {
  amount: 'A call cost more than this grant ever paid',
  price: 'A call cost more than this service ever asked of this grant',
  money: 'This grant spent more than it ever did',
  calls: 'This grant made more calls than it ever did',
  busy: 'This grant was busy for longer than it ever was',
} as const satisfies Record<GrantScore['watched'], string>

function tellScore({ score, watched, windowMs, method, phase }: GrantScore): Judgement {
  const within = windowMs === 0 ? '' : ` within ${toDuration(windowMs)}`
  const host = phase === 'newHost' ? ', and the call came from a new host' : ''
  return {
    rule: behaviourRule,
    ruleVersion: scoreVersion,
    action: 'freeze',
    severity: 'critical',
    ruleId: null,
    inputs: { score: score.toFixed(4), watched, windowMs: `${windowMs}`, method, phase },
    explanation: `${subjects[watched]}${within}${host} (score ${score.toFixed(2)}, alarm from ${alarmScore}).`,
  }
}

function toDuration(ms: number): string {
  const [size, unit] = ms >= 3_600_000 ? [3_600_000, 'hour'] : ms >= 60_000 ? [60_000, 'minute'] : [1_000, 'second']
  const count = Math.round(ms / size)
  return count === 1 ? `one ${unit}` : `${count} ${unit}s`
}
