import { larger } from '../meter/larger.ts'

/** A partition of the meter, as one payee's limit over all accounts sees it. Base units. */
export type BudgetPart = {
  /** What its accounts owe on credit. */
  used: bigint
  /** What was refused for want of budget. */
  wanted: bigint
  /** What was owed more than a moment ago. */
  grown: bigint
}

/**
 * The budget that each partition shall have: what it has given, then what it refused (the smallest first), and of the rest
 * one half for all alike and one half for those that grow. Together `maxTotal`, or what has been given if that is more.
 */
export function planBudgets(maxTotal: bigint, parts: readonly BudgetPart[]): bigint[] {
  const budgets = parts.map(({ used }) => used)
  let free = larger(0n, maxTotal - sumOf(budgets))
  const give = (index: number, amount: bigint) => {
    const given = amount < free ? amount : free
    budgets[index] = (budgets[index] ?? 0n) + given
    free -= given
  }
  const wanting = parts.map(({ wanted }, index) => ({ wanted, index })).filter(({ wanted }) => wanted > 0n)
  for (const { wanted, index } of wanting.toSorted((a, b) => (a.wanted < b.wanted ? -1 : 1))) give(index, wanted)

  const growth = parts.map(({ grown, wanted }) => larger(0n, grown) + wanted)
  const growthOfAll = sumOf(growth)
  const rest = free
  const forGrowth = growthOfAll > 0n ? rest / 2n : 0n
  for (const [index, share] of growth.entries()) {
    give(index, (rest - forGrowth) / BigInt(parts.length))
    if (forGrowth > 0n) give(index, (forGrowth * share) / growthOfAll)
  }
  // What rounding left.
  give(growth.indexOf(growth.reduce(larger, 0n)), free)
  return budgets
}

function sumOf(amounts: readonly bigint[]): bigint {
  return amounts.reduce((sum, amount) => sum + amount, 0n)
}
