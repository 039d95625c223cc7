import { maxCostOf } from '@protocolbanks/stream-bundler-client'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { examples } from '../testing/examples.ts'
import type { Operation } from './classifyOperation.ts'
import { checkGas, decideSponsorship, type Facts, gasLimitsOf, sharesOf } from './decideSponsorship.ts'

const { grant, terms, payees, settlement: settlementOp } = examples
const settlement: Operation = { kind: 'settlement', packedTerms: grant.packedTerms, terms, payees: [...payees] }
const setup: Operation = { kind: 'grant', deploys: true, calls: 3 }
const merchants = [
  { id: 'mer_a', payee: payees[0] },
  { id: 'mer_b', payee: payees[1] },
]
const facts: Facts = {
  caller: { role: 'operator' },
  contextMerchantId: undefined,
  grant,
  merchants,
  nowSeconds: terms.validAfter,
}
const merchantA = { role: 'merchant', merchantId: 'mer_a' } as const
const decide = (operation: Operation, change: Partial<Facts> = {}) => {
  const verdict = decideSponsorship(operation, { ...facts, ...change })
  return 'refusal' in verdict ? verdict.refusal.code : verdict.bearer
}

test('a settlement is borne by the merchants among its payees, and by the operator when there is none', () => {
  expect(decide(settlement)).toEqual({ by: 'merchants', merchantIds: ['mer_a', 'mer_b'] })
  expect(decide(settlement, { merchants: [] })).toEqual({ by: 'operator' })
})

test.each<[string, Partial<Facts>, string]>([
  ['unknown', { grant: undefined }, 'sponsor.grant_unknown'],
  ['registered, but not on-chain', { grant: { ...grant, status: 'pending' } }, 'sponsor.grant_unknown'],
  ['taken back by the chain', { grant: { ...grant, status: 'none' } }, 'sponsor.grant_unknown'],
  ['frozen', { grant: { ...grant, status: 'frozen', effectiveStatus: 'frozen' } }, 'sponsor.grant_not_live'],
  ['revoked', { grant: { ...grant, status: 'revoked', effectiveStatus: 'revoked' } }, 'sponsor.grant_not_live'],
  ['of an epoch that ended', { grant: { ...grant, effectiveStatus: 'revoked' } }, 'sponsor.grant_not_live'],
  ['not valid yet', { nowSeconds: terms.validAfter - 1 }, 'sponsor.grant_not_live'],
  ['no longer valid', { nowSeconds: terms.validUntil + 1 }, 'sponsor.grant_not_live'],
])('a settlement of a grant that is %s is refused', (_, change, code) => {
  expect(decide(settlement, change)).toBe(code)
})

test('a grant is live up to and including its last second', () => {
  expect(decide(settlement, { nowSeconds: terms.validUntil })).toMatchObject({ by: 'merchants' })
})

test("the operator's own freeze does not keep what was charged before it from being settled", () => {
  expect(decide(settlement, { grant: { ...grant, effectiveStatus: 'frozen' } })).toMatchObject({ by: 'merchants' })
})

test("with a merchant's key only that merchant's claims are sponsored: others' budgets are not theirs to spend", () => {
  expect(decide(settlement, { caller: merchantA })).toBe('sponsor.not_yours')
  expect(decide({ ...settlement, payees: [payees[1]] }, { caller: merchantA })).toBe('sponsor.not_yours')
  expect(decide({ ...settlement, payees: [payees[0]] }, { caller: merchantA })).toEqual({
    by: 'merchants',
    merchantIds: ['mer_a'],
  })
})

test("an owner's operation is borne by the key's merchant, by the one the operator names, or by the operator", () => {
  expect(decide(setup, { caller: merchantA })).toEqual({ by: 'merchants', merchantIds: ['mer_a'] })
  expect(decide(setup, { contextMerchantId: 'mer_b' })).toEqual({ by: 'merchants', merchantIds: ['mer_b'] })
  expect(decide(setup)).toEqual({ by: 'operator' })
  expect(decide(setup, { caller: merchantA, contextMerchantId: 'mer_b' })).toBe('sponsor.not_yours')
})

const bounds = { maxFeePerGas: 10n ** 9n, maxPreVerificationGas: 100_000n }
const sizeOf = (change: object) => {
  const result = checkGas(settlement, { ...settlementOp, ...change }, bounds)
  return 'refusal' in result ? result.refusal.code : 'sized'
}

test('gas and fees are bounded, each at its limit and not above', () => {
  const { callGasLimit, verificationGasLimit } = gasLimitsOf(settlement)
  expect(sizeOf({ callGasLimit, verificationGasLimit, preVerificationGas: 100_000n })).toBe('sized')
  expect(sizeOf({ callGasLimit: callGasLimit + 1n })).toBe('sponsor.gas_above_limit')
  expect(sizeOf({ verificationGasLimit: verificationGasLimit + 1n })).toBe('sponsor.gas_above_limit')
  expect(sizeOf({ preVerificationGas: 100_001n })).toBe('sponsor.gas_above_limit')
  expect(sizeOf({ maxFeePerGas: 10n ** 9n + 1n })).toBe('sponsor.fee_above_limit')
})

test.each(['callGasLimit', 'verificationGasLimit', 'preVerificationGas', 'maxFeePerGas'])(
  '%s missing or zero is refused by name',
  (name) => {
    for (const value of [undefined, 0n]) {
      const result = checkGas(settlement, { ...settlementOp, [name]: value }, bounds)
      expect('refusal' in result && result.refusal).toMatchObject({ code: 'sponsor.gas_missing' })
      expect('refusal' in result && result.refusal.reason).toContain(name)
    }
  },
)

test('the shares cover the most an operation may cost, and are equal', () => {
  const checked = checkGas(settlement, settlementOp, bounds)
  if ('refusal' in checked) throw new Error(checked.refusal.reason)
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), fc.bigInt(1n, 10n ** 12n), (count, maxFeePerGas) => {
      const merchantIds = Array.from({ length: count }, (_, index) => `mer_${index}`)
      const sized = { ...checked.sized, maxFeePerGas }
      const shares = sharesOf({ by: 'merchants', merchantIds }, sized)
      const total = shares.reduce((sum, { maxCostWei }) => sum + maxCostWei, 0n)
      expect(new Set(shares.map(({ maxCostWei }) => maxCostWei)).size).toBe(1)
      expect(total).toBeGreaterThanOrEqual(maxCostOf(sized))
      expect(total).toBeLessThan(maxCostOf(sized) + BigInt(count))
    }),
  )
})
