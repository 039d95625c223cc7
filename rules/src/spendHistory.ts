import { addSpend, createSpendTotals, type SpendTotals } from './spendTotals.ts'

/**
 * What is remembered of one grant for rules: of all its charges, and of those to each of the payees that came last. Plain
 * JSON of bounded size.
 */
export type SpendHistory = {
  all: SpendTotals
  /** While there is one payee alone, its totals are those of all, and null here. */
  payees: { payee: string; totals: SpendTotals | null }[]
}

/** Of more payees, the one that was not paid for the longest is forgotten, and begins anew when it comes again. */
export const payeesKept = 8

export function createSpendHistory(): SpendHistory {
  return { all: createSpendTotals(), payees: [] }
}

/** Takes one charge in, in place. Charges come in the order of their time; an earlier one counts as of the newest. */
export function recordSpend(
  history: SpendHistory,
  charge: { atMs: number; amountAtomic: bigint; payee: string },
): void {
  const spend = { atMs: Math.max(charge.atMs, history.all.lastMs), amount: Number(charge.amountAtomic) }
  const own = totalsOf(history, charge.payee)
  if (own) addSpend(own, spend)
  addSpend(history.all, spend)
}

/** What went to this payee; nothing when it is not among those that are kept. */
export function spendOfPayee({ all, payees }: SpendHistory, payee: string): SpendTotals {
  const known = payees.find((one) => one.payee === payee)
  return known ? (known.totals ?? all) : createSpendTotals()
}

/** Whether it is one, as this version writes it: lists of other lengths would be counted wrongly. */
export function isSpendHistory(value: unknown): value is SpendHistory {
  if (typeof value !== 'object' || value === null) return false
  const { all, payees } = value as Partial<SpendHistory>
  if (!isTotals(all) || !Array.isArray(payees) || payees.length > payeesKept) return false
  return payees.every(
    (one) => typeof one?.payee === 'string' && (one.totals === null ? payees.length === 1 : isTotals(one.totals)),
  )
}

/** Of the payee of a charge, for adding it; null while the totals of all are its own. Forgets another if it must. */
function totalsOf(history: SpendHistory, payee: string): SpendTotals | null {
  const { payees, all } = history
  const known = payees.find((one) => one.payee === payee)
  if (known) return known.totals
  const [first] = payees
  if (!first) {
    payees.push({ payee, totals: null })
    return null
  }
  // From the second payee on each has its own; so far, all was the first one's.
  first.totals ??= structuredClone(all)
  const totals = createSpendTotals()
  if (payees.length < payeesKept) payees.push({ payee, totals })
  else payees[oldestOf(payees)] = { payee, totals }
  return totals
}

function oldestOf(payees: SpendHistory['payees']): number {
  const times = payees.map(({ totals }) => totals?.lastMs ?? 0)
  return times.indexOf(Math.min(...times))
}

const numbers = (value: unknown, length: number) =>
  Array.isArray(value) && value.length === length && value.every((one) => typeof one === 'number')

function isTotals(value: unknown): value is SpendTotals {
  const example = createSpendTotals()
  if (typeof value !== 'object' || value === null) return false
  const { before, slices, sliceCalls, sliceSpent, ...counts } = value as SpendTotals
  return (
    numbers(Object.values(counts), 4) &&
    typeof before === 'object' &&
    numbers(Object.values(before ?? {}), 3) &&
    numbers(slices, example.slices.length) &&
    numbers(sliceCalls, example.sliceCalls.length) &&
    numbers(sliceSpent, example.sliceSpent.length)
  )
}
