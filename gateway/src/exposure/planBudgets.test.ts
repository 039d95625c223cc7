import fc from 'fast-check'
import { expect, test } from 'vitest'
import { larger } from '../meter/larger.ts'
import { type BudgetPart, planBudgets } from './planBudgets.ts'

const part = fc.record({
  used: fc.bigInt({ min: 0n, max: 200n }),
  wanted: fc.bigInt({ min: 0n, max: 100n }),
  grown: fc.bigInt({ min: -50n, max: 50n }),
})

test('plans the whole limit and never more, and nowhere less than what was given', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2_000n }), fc.array(part, { minLength: 1, maxLength: 16 }), (max, parts) => {
      const budgets = planBudgets(max, parts)
      const used = sumOf(parts.map((one) => one.used))
      const planned = sumOf(budgets)
      expect(planned).toBe(larger(used, max))
      expect(budgets.every((budget, index) => budget >= (parts[index]?.used ?? 0n))).toBe(true)
      // All that was refused fits: then nobody is refused again.
      if (used + sumOf(parts.map((one) => one.wanted)) <= max) {
        for (const [index, { used: given, wanted }] of parts.entries()) {
          expect((budgets[index] ?? 0n) >= given + wanted).toBe(true)
        }
      }
    }),
  )
})

test('gives what was refused first, the smallest before the others, and the rest to all, more to those that grow', () => {
  const idle: BudgetPart = { used: 0n, wanted: 0n, grown: 0n }
  expect(planBudgets(100n, [{ ...idle, wanted: 90n }, { ...idle, wanted: 20n }, idle, idle])).toEqual([
    80n,
    20n,
    0n,
    0n,
  ])
  expect(planBudgets(80n, [idle, idle, idle, idle])).toEqual([20n, 20n, 20n, 20n])
  expect(planBudgets(80n, [{ ...idle, grown: 5n }, idle, idle, idle])).toEqual([50n, 10n, 10n, 10n])
  expect(planBudgets(80n, [{ ...idle, used: 100n }, idle])).toEqual([100n, 0n])
})

function sumOf(amounts: bigint[]): bigint {
  return amounts.reduce((sum, amount) => sum + amount, 0n)
}
