import { type SpendHistory, spendOfPayee } from './spendHistory.ts'
import type { SpendTotals } from './spendTotals.ts'
import { utcTime } from './timeZones.ts'

/** One charge as a rule sees it. The charge itself is in the history already. */
export type RuleInput = {
  atMs: number
  /** Base units. */
  amountAtomic: bigint
  /** Of the grant's token. */
  decimals: number
  payee: string
  service: string
  newHost: boolean
  /** Of the behaviour, in [0, 1). */
  score: number
  history: SpendHistory
  /** Base units, after this charge; undefined when it is not known. */
  remainingBudgetAtomic?: bigint | undefined
  fundsAtomic?: bigint | undefined
  /** `payee`: the rule sees what went to the payee of this charge and nothing else. */
  sees: 'grant' | 'payee'
}

/** What all rules that see the same are evaluated with, made once a charge. */
export type RuleFacts = {
  atMs: number
  decimals: number
  grant: SpendTotals
  payee: SpendTotals
  /** By the names of the language. A variable that is not known has no field. */
  variables: Record<string, string | number | bigint | boolean>
}

export function createRuleFacts(input: RuleInput): RuleFacts {
  const { atMs, amountAtomic, decimals, history, remainingBudgetAtomic, fundsAtomic } = input
  const payee = spendOfPayee(history, input.payee)
  const grant = input.sees === 'payee' ? payee : history.all
  const { before } = grant
  const unit = 10 ** decimals
  const { hour, weekday } = utcTime(atMs)
  const variables: RuleFacts['variables'] = {
    // Of exact integers below 2^53 and a power of ten: the nearest number, as what is written in a rule is.
    amount: Number(amountAtomic) / unit,
    amountAtomic: atMostInt64(amountAtomic),
    service: input.service,
    payee: input.payee,
    newHost: input.newHost,
    score: input.score,
    hour: BigInt(hour),
    weekday: BigInt(weekday),
    average: before.calls === 0 ? 0 : before.spent / before.calls / unit,
    largest: before.largest / unit,
    callsBefore: BigInt(before.calls),
  }
  if (remainingBudgetAtomic !== undefined) variables.remainingBudget = Number(remainingBudgetAtomic) / unit
  if (fundsAtomic !== undefined) variables.funds = Number(fundsAtomic) / unit
  return { atMs, decimals, grant, payee, variables }
}

/** Integers of the language have 64 bits. */
export function atMostInt64(value: bigint): bigint {
  return value < maxInt64 ? value : maxInt64
}

const maxInt64 = 2n ** 63n - 1n
