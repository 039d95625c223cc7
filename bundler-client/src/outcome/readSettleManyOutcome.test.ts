import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import {
  type Address,
  encodeAbiParameters,
  encodeErrorResult,
  encodeEventTopics,
  type Hex,
  keccak256,
  type Log,
  stringToHex,
  toFunctionSelector,
} from 'viem'
import { expect, test } from 'vitest'
import { examples } from '../testing/examples.ts'
import { readSettleManyOutcome } from './readSettleManyOutcome.ts'

const { module, payees, addressOf } = examples
const [payee] = payees
const settlements = ['a', 'b', 'c'].map((name) => ({
  account: addressOf(name),
  grantId: keccak256(stringToHex(name)),
}))
const [a, b, c] = settlements as [Settlement, Settlement, Settlement]
const common = { abi: sessionKeyValidatorAbi }
const frozen = encodeErrorResult({ ...common, errorName: 'AccountIsFrozen', args: [b.account] })

test('each settlement has its own outcome: paid, skipped claim by claim, or skipped as a whole', () => {
  const outcomes = read([settled(a, 5n), skippedSettlement(b.account, frozen), skippedClaim(c, 'TransferFailed()')])
  expect(outcomes).toMatchObject([
    { success: true, claims: [{ payee, paid: 5n, settled: 5n, skippedReason: undefined }] },
    { success: false, revertReason: 'AccountIsFrozen' },
    { success: true, claims: [{ payee, paid: 0n, skippedReason: 'TransferFailed' }] },
  ])
})

test('shares of gas and cost add up to the whole, also when one asks for a part of it', () => {
  const logs = [settled(a, 5n), skippedSettlement(b.account, frozen), skippedClaim(c, 'TransferFailed()')]
  const outcomes = read(logs)
  expect(read(logs, 'success', [b])).toEqual([outcomes[1]])
  expect(outcomes.map(({ gasUsed }) => gasUsed)).toEqual([34n, 33n, 33n])
  expect(outcomes.reduce((sum, { gasCostWei }) => sum + gasCostWei, 0n)).toBe(700n)
})

test('a settlement that took place is not called skipped by whoever calls the module besides', () => {
  const [outcome] = read([settled(a, 5n), skippedSettlement(a.account, frozen)])
  expect(outcome).toMatchObject({ success: true, claims: [{ paid: 5n }] })
})

test('events of other contracts do not count, and without any a settlement did not take place', () => {
  const impostor = addressOf('impostor')
  const outcomes = read([
    { ...settled(a, 5n), address: impostor },
    { ...skippedSettlement(b.account, frozen), address: impostor },
  ])
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ success: false, revertReason: 'not in the transaction' })
})

test('a transaction that reverted settled nothing', () => {
  for (const outcome of read([], 'reverted')) expect(outcome).toMatchObject({ success: false })
})

type Settlement = { account: Address; grantId: Hex }
type RawLog = { address: Address; topics: readonly unknown[]; data: Hex }

function read(logs: RawLog[], status: 'success' | 'reverted' = 'success', asked = settlements) {
  const hash = keccak256('0x00')
  const indexed = logs.map((log, logIndex) => {
    const place = { blockHash: hash, blockNumber: 5n, transactionHash: hash, transactionIndex: 0 }
    return { ...log, ...place, logIndex, removed: false } as Log
  })
  const receipt = { transactionHash: hash, blockNumber: 5n, status, gasUsed: 100n, effectiveGasPrice: 7n }
  return readSettleManyOutcome({ ...receipt, logs: indexed }, { module, settlements: asked })
}

function settled({ account, grantId }: Settlement, paid: bigint): RawLog {
  const topics = encodeEventTopics({ ...common, eventName: 'Settled', args: { account, grantId, payee } })
  const data = encodeAbiParameters([{ type: 'uint256' }, { type: 'uint256' }], [paid, paid])
  return { address: module, topics, data }
}

function skippedClaim({ account, grantId }: Settlement, error: string): RawLog {
  const topics = encodeEventTopics({ ...common, eventName: 'ClaimSkipped', args: { account, grantId, payee } })
  return { address: module, topics, data: encodeAbiParameters([{ type: 'bytes4' }], [toFunctionSelector(error)]) }
}

function skippedSettlement(account: Address, reason: Hex): RawLog {
  const topics = encodeEventTopics({ ...common, eventName: 'SettlementSkipped', args: { account } })
  return { address: module, topics, data: encodeAbiParameters([{ type: 'bytes' }], [reason]) }
}
