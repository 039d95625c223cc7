import { type Address, formatAmount } from '@protocolbanks/stream-protocol'
import { createRuleFacts, type RuleFacts, recordSpend } from '@protocolbanks/stream-rules'
import { applyOwnRules, noRules, type OwnRules } from '../ownRules/applyOwnRules.ts'
import type { ChargeNames } from '../ownRules/ownRule.ts'
import { applyRules, type Finding, type RulesOptions } from '../rules/firstRules.ts'
import { alarmScore } from '../scoring/detector.ts'
import type { GrantScore, GrantScorer } from '../scoring/grantScorer.ts'
import type { GrantMemory } from './grantMemory.ts'
import type { Judgement } from './judgement.ts'

/** One charge of a grant, and what it leaves. Base units. */
export type WatchedCharge = {
  grantId: string
  account: string
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

export type JudgeOptions = {
  rules: RulesOptions
  scorer: GrantScorer
  decimals: number
  cooldownMs: number
  /** What owners, merchants and the operator wrote; none by default. */
  ownRules?: OwnRules | undefined
}

const rulesVersion = 1
const scoreVersion = 1
const behaviourRule = 'behaviour.unusual'

/** What the rules and the score say of a charge, which is taken into the memory, in place. Deterministic. */
export function judgeCharge(memory: GrantMemory, charge: WatchedCharge, options: JudgeOptions): Judgement[] {
  const { decimals, cooldownMs, ownRules = noRules } = options
  const money = (atomic: bigint) => formatAmount(atomic, decimals)
  const { findings, score, factsFor } = observeCharge(memory, charge, options)
  const names = namesOf(charge)
  const found = [
    ...findings.map((finding) => tell(finding, money)),
    ...applyOwnRules(ownRules, { ...names, atMs: charge.atMs }, factsFor, memory.quiet),
  ]
  if (score.score < alarmScore || charge.atMs < memory.quietUntilMs) return found
  memory.quietUntilMs = charge.atMs + cooldownMs
  const owner = { merchantId: null, account: charge.account as Address }
  const spared = ownRules.sparedBy(owner, names) ?? ownRules.sparedBy(operator, names)
  return [...found, spared === undefined ? tellScore(score) : spare(tellScore(score), spared)]
}

/** What judges see of a charge, which is taken into the memory, in place: findings, score, and what own rules read. */
export function observeCharge(
  memory: GrantMemory,
  charge: WatchedCharge,
  { rules, scorer, decimals }: Pick<JudgeOptions, 'rules' | 'scorer' | 'decimals'>,
): { findings: Finding[]; score: GrantScore; factsFor(sees: 'grant' | 'payee'): RuleFacts } {
  const findings = applyRules(memory.rules, charge, rules)
  const score = scorer.observe(memory.scorer, charge)
  recordSpend(memory.history, charge)
  const made: Partial<Record<'grant' | 'payee', RuleFacts>> = {}
  const factsFor = (sees: 'grant' | 'payee') => {
    made[sees] ??= createRuleFacts({
      atMs: charge.atMs,
      amountAtomic: charge.amountAtomic,
      decimals,
      payee: charge.payee,
      service: charge.service,
      newHost: score.phase === 'newHost',
      score: score.score,
      history: memory.history,
      // A budget of nothing is one that was not read.
      remainingBudgetAtomic: charge.budgetAtomic === 0n ? undefined : charge.remainingBudgetAtomic,
      fundsAtomic: charge.fundsAtomic,
      sees,
    })
    return made[sees]
  }
  return { findings, score, factsFor }
}

/** As rules and allow lists compare them. */
export function namesOf({ grantId, account, payee, service }: WatchedCharge): ChargeNames {
  return {
    grantId: grantId.toLowerCase(),
    account: account.toLowerCase(),
    payee: payee.toLowerCase(),
    service,
  }
}

const operator = { merchantId: null, account: null }

/** Told, and not stopped. */
function spare(judgement: Judgement, spared: string): Judgement {
  return {
    ...judgement,
    rule: `${judgement.rule}.spared`,
    action: 'alert',
    severity: 'warning',
    explanation: `${judgement.explanation.replace(/\.$/, '')}; nothing was stopped, because ${spared} is on the allow list.`,
  }
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
