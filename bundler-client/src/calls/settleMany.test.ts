import { packTerms } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { encodeFunctionData, encodeFunctionResult, type Hex, BaseError as ViemError } from 'viem'
import { expect, test } from 'vitest'
import { examples } from '../testing/examples.ts'
import { decodeSettle } from './decodeSettle.ts'
import { decodeSettleMany } from './decodeSettleMany.ts'
import { encodeSettle } from './encodeSettle.ts'
import {
  type AccountSettlement,
  encodeSettleMany,
  InvalidSettlementsError,
  maxSettlements,
} from './encodeSettleMany.ts'
import { estimateSettleMany, SettleManyTooLargeError } from './estimateSettleMany.ts'

const { module, account, terms, claims, addressOf } = examples
const settlementOf = (name: string): AccountSettlement => ({ account: addressOf(name), terms, claims })

test('settlements of many accounts are read back with their terms and claims', () => {
  const known = claims.map((claim) => ({ ...claim, proof: 'known' as const }))
  const settlements = [settlementOf('a'), { ...settlementOf('b'), claims: known }, settlementOf('c')]
  expect(decodeSettleMany(encodeSettleMany(settlements))).toEqual(
    settlements.map((one) => ({ ...one, packedTerms: packTerms(terms) })),
  )
})

test('nothing else is read as many settlements', () => {
  const data = encodeSettleMany([settlementOf('a')])
  const settle = encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'settle',
    args: [account, packTerms(terms), '0x00'],
  })
  const cut = encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'settleMany',
    args: [[{ account, terms: packTerms(terms), claims: '0x00' }]],
  })
  for (const other of [settle, cut, `${data}00` as Hex, data.slice(0, -64) as Hex, '0x' as const]) {
    expect(decodeSettleMany(other)).toBeUndefined()
  }
})

test('an account twice, none, or more than fit are refused', () => {
  const many = Array.from({ length: maxSettlements + 1 }, (_, index) => settlementOf(`account ${index}`))
  for (const settlements of [[], many, [settlementOf('a'), settlementOf('b'), settlementOf('a')]]) {
    expect(() => encodeSettleMany(settlements)).toThrow(InvalidSettlementsError)
  }
})

test('a settlement of known payees is read by who sponsors it', () => {
  const known = claims.map((claim) => ({ ...claim, proof: 'known' as const }))
  expect(decodeSettle(encodeSettle({ module, account, terms, claims: known }))?.claims).toEqual(
    claims.map(({ payee, amount, cumulativeAmount }) => ({ payee, amount, cumulativeAmount })),
  )
})

const estimate = (chain: { needed: bigint; paidWith(gas: bigint): bigint[] }) =>
  estimateSettleMany(
    {
      call: (async ({ gas = 0n }: { gas?: bigint }) => ({
        data: encodeFunctionResult({
          abi: sessionKeyValidatorAbi,
          functionName: 'settleMany',
          result: chain.paidWith(gas),
        }),
      })) as never,
      estimateGas: async () => chain.needed,
    },
    { module, sender: account, data: '0x', maxGas: 1_000_000n, blockNumber: 1n },
  )

test('the gas limit is a quarter above the need, within the bound', async () => {
  expect(await estimate({ needed: 400_000n, paidWith: () => [5n] })).toEqual({ gas: 500_000n, paid: [5n] })
  expect(await estimate({ needed: 900_000n, paidWith: () => [5n] })).toEqual({ gas: 1_000_000n, paid: [5n] })
})

test('a limit under which a settlement would be skipped is not used', async () => {
  const paidWith = (gas: bigint) => (gas < 600_000n ? [5n, 0n] : [5n, 7n])
  expect(await estimate({ needed: 400_000n, paidWith })).toEqual({ gas: 1_000_000n, paid: [5n, 7n] })
})

test('what needs more than the bound, or does not run to its end, is too large; an unanswered question is not', async () => {
  await expect(estimate({ needed: 1_000_001n, paidWith: () => [5n] })).rejects.toThrow(SettleManyTooLargeError)
  const failWith = (words: string) => () => {
    throw new ViemError(words)
  }
  await expect(estimate({ needed: 1n, paidWith: failWith('out of gas') })).rejects.toThrow(SettleManyTooLargeError)
  const unanswered = estimate({ needed: 1n, paidWith: failWith('The request took too long to respond.') })
  await expect(unanswered).rejects.not.toThrow(SettleManyTooLargeError)
})
