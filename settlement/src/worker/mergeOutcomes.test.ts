import type { ClaimOutcome, SettlementOutcome } from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import { getAddress, type Hex, keccak256, stringToHex } from 'viem'
import { expect, test } from 'vitest'
import { PayeeNotKnownError, SettlementRevertedError } from './errors.ts'
import type { FoundOutcome } from './findOutcomes.ts'
import { judgeOutcome } from './judgeOutcome.ts'
import { mergeOutcomes } from './mergeOutcomes.ts'

const hashOf = (name: string) => keccak256(stringToHex(name))
const [a, b] = ['a', 'b'].map((name) => getAddress(`0x${hashOf(name).slice(-40)}`)) as [Hex, Hex]
const paid = (payee: Hex, amount: bigint): ClaimOutcome => ({
  payee,
  paid: amount,
  settled: amount,
  skippedReason: undefined,
})
const skipped = (payee: Hex, skippedReason: string): ClaimOutcome => ({
  payee,
  paid: 0n,
  settled: undefined,
  skippedReason,
})

function found(name: string, claims: ClaimOutcome[] | 'reverted', userOpHash: Hex | null = null): FoundOutcome {
  const common = { transactionHash: hashOf(name), blockNumber: 5n, gasUsed: 7n, gasCostWei: 70n }
  const outcome: SettlementOutcome =
    claims === 'reverted' ? { ...common, success: false, revertReason: 'x' } : { ...common, success: true, claims }
  return { userOpHash, outcome }
}
const work = { grant: { grantId: hashOf('grant') }, items: [{ payee: a }, { payee: b }] } as SettlementWork

test('a payee got what any attempt paid, and the attempt that paid is the outcome', () => {
  const merged = mergeOutcomes([
    found('first', [paid(a, 5n), skipped(b, 'InvalidProof')]),
    found('second', [skipped(a, 'NothingDue'), paid(b, 3n)], hashOf('op')),
    found('third', [skipped(a, 'NothingDue'), skipped(b, 'NothingDue')]),
    found('fourth', 'reverted'),
  ])
  expect(merged?.userOpHash).toBe(hashOf('op'))
  expect(merged?.outcome).toMatchObject({
    success: true,
    transactionHash: hashOf('second'),
    claims: [
      { payee: a, paid: 5n, skippedReason: undefined },
      { payee: b, paid: 3n, skippedReason: undefined },
    ],
  })
})

test('without a success the last failure counts; without an attempt on the chain there is nothing', () => {
  expect(mergeOutcomes([found('first', 'reverted'), found('second', 'reverted')])).toEqual(found('second', 'reverted'))
  expect(mergeOutcomes([])).toBeUndefined()
  expect(mergeOutcomes([found('first', [skipped(a, 'TransferFailed')]), found('second', 'reverted')])).toMatchObject({
    outcome: { claims: [{ skippedReason: 'TransferFailed' }] },
  })
})

test('only the first attempt is repeated for a payee that the chain does not know', () => {
  const unknown = found('first', [paid(a, 5n), skipped(b, 'InvalidProof')])
  expect(() => judgeOutcome(work, unknown, { isFirst: true })).toThrow(PayeeNotKnownError)
  expect(judgeOutcome(work, unknown, { isFirst: false })).toMatchObject({
    do: 'confirm',
    confirmation: {
      items: [
        { payee: a, paid: 5n },
        { payee: b, paid: 0n, skippedReason: 'InvalidProof' },
      ],
    },
  })
})

test('a payee that was left out has its reason, and a reverted call is no outcome', () => {
  const leftOut = [{ payee: b, reason: 'voucher.signature' as const }]
  expect(judgeOutcome(work, found('first', [paid(a, 5n)]), { isFirst: true, leftOut })).toMatchObject({
    confirmation: { items: [{ paid: 5n }, { paid: 0n, skippedReason: 'voucher.signature' }] },
  })
  expect(() => judgeOutcome(work, found('first', 'reverted'), { isFirst: true })).toThrow(SettlementRevertedError)
})
