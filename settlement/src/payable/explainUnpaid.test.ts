import type { Address } from '@protocolbanks/stream-protocol'
import { numberToHex } from 'viem'
import { expect, test } from 'vitest'
import { type ClaimPreview, explainUnpaid, type PayFacts, type UnpaidReason } from './explainUnpaid.ts'

const payeeOf = (number: number): Address => numberToHex(number, { size: 20 })
const facts: PayFacts = {
  source: 'allowance',
  balance: 100n,
  allowance: 100n,
  pool: 0n,
  totalLeft: 100n,
  periodLeft: 100n,
  tokenRefuses: () => 'claim.payee_blocked',
}
const unpaid = (due: bigint, payee = payeeOf(1)): ClaimPreview => ({ payee, due, paid: 0n })
const paid = (amount: bigint): ClaimPreview => ({ payee: payeeOf(9), due: amount, paid: amount })

test.each<[string, Partial<PayFacts>, UnpaidReason]>([
  ['the allowance does not cover it', { allowance: 49n }, 'claim.allowance'],
  ['the balance does not', { balance: 49n }, 'claim.balance'],
  ['the allowance comes before the balance', { allowance: 49n, balance: 0n }, 'claim.allowance'],
  ['the pool does not', { source: 'reserve', pool: 49n }, 'claim.reserve'],
  [
    'the pool alone counts for a grant of the reserve',
    { source: 'reserve', pool: 50n, balance: 0n },
    'claim.payee_blocked',
  ],
  ['the pool does not count for an allowance', { pool: 0n }, 'claim.payee_blocked'],
  ['the total limit is reached', { totalLeft: 49n, allowance: 0n }, 'claim.total_limit'],
  ['the period limit is reached', { periodLeft: 49n, allowance: 0n }, 'claim.period_limit'],
  ['there is no period limit', { periodLeft: undefined, allowance: 0n }, 'claim.allowance'],
])('a claim is not paid: %s', (_, change, reason) => {
  expect(explainUnpaid([unpaid(50n)], { ...facts, ...change })).toEqual([reason])
})

test('what is paid, and what is not due, needs no reason', () => {
  expect(explainUnpaid([paid(50n), unpaid(0n)], facts)).toEqual([undefined, undefined])
})

test('claims before it that are paid take from the same funds, those that are not do not', () => {
  const claims = [paid(60n), unpaid(41n), unpaid(40n)]
  expect(explainUnpaid(claims, facts)).toEqual([undefined, 'claim.total_limit', 'claim.payee_blocked'])
  const funded = { ...facts, totalLeft: 1_000n, periodLeft: undefined }
  expect(explainUnpaid(claims, funded)).toEqual([undefined, 'claim.allowance', 'claim.payee_blocked'])
})

test('the token is asked only about whom nothing else explains', () => {
  const asked: Address[] = []
  const tokenRefuses = (payee: Address): UnpaidReason => {
    asked.push(payee)
    return 'claim.token_refuses'
  }
  explainUnpaid([unpaid(101n, payeeOf(1)), unpaid(5n, payeeOf(2)), paid(5n)], { ...facts, tokenRefuses })
  expect(asked).toEqual([payeeOf(2)])
})
