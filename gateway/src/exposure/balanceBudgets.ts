import { larger } from '../meter/larger.ts'
import type { BudgetKey, CreditBudgets, PartitionBudget } from '../meter/meter.ts'
import { planBudgets } from './planBudgets.ts'

export type BalanceOptions = BudgetKey & {
  budgets: CreditBudgets
  /** What all accounts may owe the payee on credit, base units. */
  maxTotal: bigint
  /** Version of the merchant's choice. */
  policy: number
  /** What each partition gave before, to see which of them grow; empty: not known. */
  usedBefore: readonly bigint[]
  /** Copies to the meter every account of these partitions that owes the payee, by the journal. */
  countDebts(partitions: ReadonlySet<number>): Promise<void>
}

export type BalanceResult = {
  /** `superseded`: the merchant's choice has changed, or another balancer has been faster. */
  outcome: 'balanced' | 'superseded'
  /** What each partition had given when this began. */
  used: bigint[]
  /** Whether all that was left goes to what was refused. */
  exhausted: boolean
}

/**
 * One round that moves a payee's budget to the partitions that need it. Any number of processes may run it at once and
 * stop anywhere in it: together the partitions never get more than `maxTotal`, or what they had given already.
 *
 * First every budget is lowered to what it shall be, never below what was given, and its version changes. Then what is
 * left is given out, each step only where nothing has changed since: whoever lowered all of them last knows them all, and
 * nobody before them can raise any. See docs/adr.
 *
 * @throws MeterUnavailableError; nothing above the limit was given out
 */
export async function balanceBudgets(options: BalanceOptions): Promise<BalanceResult> {
  const { budgets, token, payee, maxTotal, policy, usedBefore } = options
  const key = { token, payee }
  let parts = await budgets.read(token, payee)
  if (parts.some(({ counted }) => !counted)) {
    const refused = parts.map((part) => part.wanted)
    await countAll(options, parts)
    const again = await budgets.read(token, payee)
    parts = again.map((part, index) => ({ ...part, wanted: larger(part.wanted, refused[index] ?? 0n) }))
  }
  const used = parts.map((part) => part.used)
  const wanted = parts.reduce((sum, part) => sum + part.wanted, 0n)
  const exhausted = used.reduce((sum, amount) => sum + amount, wanted) >= maxTotal
  const targets = planBudgets(
    maxTotal,
    parts.map((part, index) => ({ ...part, grown: part.used - (usedBefore[index] ?? part.used) })),
  )

  const lowered = await Promise.all(targets.map((target, index) => budgets.lower(index, { ...key, policy, target })))
  let free = maxTotal
  for (const part of lowered) {
    // Without knowing every partition nothing may be given to any.
    if (!part?.counted) return { outcome: 'superseded', used, exhausted }
    free -= larger(part.budget, part.used)
  }
  const raises = lowered.flatMap((part, index) => {
    const target = targets[index] ?? 0n
    if (!part || free <= 0n || target <= part.budget) return []
    const held = larger(part.budget, part.used)
    const budget = larger(held, smaller(target, held + free))
    free -= budget - held
    return [budgets.raise(index, { ...key, version: part.version, budget })]
  })
  const raised = await Promise.all(raises)
  return { outcome: raised.every(Boolean) ? 'balanced' : 'superseded', used, exhausted }
}

/** A store that is new, or lost what it knew, gives nothing until it counts all that is owed. */
async function countAll({ budgets, token, payee, policy, countDebts }: BalanceOptions, parts: PartitionBudget[]) {
  const key = { token, payee }
  const uncounted = parts.flatMap(({ counted }, index) => (counted ? [] : [index]))
  // Lowering gives each a version that a store which is lost again would not have.
  const fenced = await Promise.all(
    uncounted.map(async (index) => ({ index, part: await budgets.lower(index, { ...key, policy, target: 0n }) })),
  )
  await countDebts(new Set(uncounted))
  await Promise.all(fenced.map(({ index, part }) => part && budgets.confirm(index, { ...key, version: part.version })))
}

function smaller(left: bigint, right: bigint): bigint {
  return left < right ? left : right
}
