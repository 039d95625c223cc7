import type { Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import {
  type Address,
  encodeAbiParameters,
  encodeEventTopics,
  keccak256,
  type Log,
  stringToHex,
  toFunctionSelector,
} from 'viem'
import { expect, test } from 'vitest'
import { entryPoint08 } from '../accounts/entryPoint.ts'
import { examples } from '../testing/examples.ts'
import { readSettlementOutcome } from './readSettlementOutcome.ts'

const { module, account, grantId, payees, addressOf } = examples
const [payeeA, payeeB] = payees
const entryPoint = entryPoint08.address
const userOpHash = keccak256(stringToHex('operation'))
const otherOpHash = keccak256(stringToHex('another operation'))
const ref = { entryPoint, module, userOpHash, account, grantId }

test('a settlement paid what Settled says, and skipped what ClaimSkipped says', () => {
  const outcome = read([
    beforeExecution(),
    settled(payeeA, 5n, 9n),
    skipped(payeeB, toFunctionSelector('NothingDue()')),
    operationEvent(userOpHash, true),
  ])
  expect(outcome).toMatchObject({
    success: true,
    gasUsed: 100_000n,
    gasCostWei: 300_000n,
    claims: [
      { payee: payeeA, paid: 5n, settled: 9n, skippedReason: undefined },
      { payee: payeeB, paid: 0n, settled: undefined, skippedReason: 'NothingDue' },
    ],
  })
})

test('events of the operations before and after it in the bundle do not count', () => {
  const outcome = read([
    beforeExecution(),
    settled(payeeA, 1n, 1n),
    operationEvent(otherOpHash, true),
    settled(payeeA, 2n, 3n),
    operationEvent(userOpHash, true),
    settled(payeeA, 4n, 7n),
  ])
  expect(outcome).toMatchObject({ claims: [{ paid: 2n }] })
})

test('events of another contract, account or grant do not count', () => {
  const outcome = read([
    beforeExecution(),
    settled(payeeA, 1n, 1n, { address: addressOf('impostor') }),
    settled(payeeA, 1n, 1n, { account: addressOf('somebody') }),
    settled(payeeA, 1n, 1n, { grantId: otherOpHash }),
    operationEvent(userOpHash, true, { address: addressOf('impostor') }),
    operationEvent(userOpHash, true),
  ])
  expect(outcome).toMatchObject({ success: true, claims: [] })
})

test('a reverted call names the module’s error', () => {
  const name = sessionKeyValidatorAbi.find((item) => item.type === 'error' && item.name === 'MalformedTerms')
  expect(name).toBeDefined()
  const revertReason: Hex = `${toFunctionSelector('MalformedTerms(uint256)')}${'00'.repeat(32)}`
  const outcome = read([beforeExecution(), revertReasonEvent(revertReason), operationEvent(userOpHash, false)])
  expect(outcome).toMatchObject({ success: false, revertReason: 'MalformedTerms', gasCostWei: 300_000n })
})

test('a transaction without the operation has no outcome', () => {
  expect(read([beforeExecution(), settled(payeeA, 1n, 1n), operationEvent(otherOpHash, true)])).toBeUndefined()
  expect(read([])).toBeUndefined()
})

function read(logs: RawLog[]) {
  const indexed = logs.map((log, logIndex): Log => {
    const place = { blockHash: otherOpHash, blockNumber: 5n, transactionHash: userOpHash, transactionIndex: 0 }
    return { ...log, ...place, logIndex, removed: false } as Log
  })
  return readSettlementOutcome({ transactionHash: userOpHash, blockNumber: 5n, logs: indexed }, ref)
}

type RawLog = { address: Address; topics: readonly (Hex | Hex[] | null)[]; data: Hex }

function settled(
  payee: Address,
  paid: bigint,
  total: bigint,
  change: Partial<typeof ref & { address: Address }> = {},
): RawLog {
  return {
    address: change.address ?? module,
    topics: encodeEventTopics({
      abi: sessionKeyValidatorAbi,
      eventName: 'Settled',
      args: { account: change.account ?? account, grantId: change.grantId ?? grantId, payee },
    }),
    data: encodeAbiParameters([{ type: 'uint256' }, { type: 'uint256' }], [paid, total]),
  }
}

function skipped(payee: Address, reason: Hex): RawLog {
  return {
    address: module,
    topics: encodeEventTopics({
      abi: sessionKeyValidatorAbi,
      eventName: 'ClaimSkipped',
      args: { account, grantId, payee },
    }),
    data: encodeAbiParameters([{ type: 'bytes4' }], [reason]),
  }
}

function operationEvent(hash: Hex, success: boolean, change: { address?: Address } = {}): RawLog {
  return {
    address: change.address ?? entryPoint,
    topics: encodeEventTopics({
      abi: entryPointAbi,
      eventName: 'UserOperationEvent',
      args: { userOpHash: hash, sender: account, paymaster: addressOf('paymaster') },
    }),
    data: encodeAbiParameters(
      [{ type: 'uint256' }, { type: 'bool' }, { type: 'uint256' }, { type: 'uint256' }],
      [0n, success, 300_000n, 100_000n],
    ),
  }
}

function revertReasonEvent(reason: Hex): RawLog {
  return {
    address: entryPoint,
    topics: encodeEventTopics({
      abi: entryPointAbi,
      eventName: 'UserOperationRevertReason',
      args: { userOpHash, sender: account },
    }),
    data: encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes' }], [0n, reason]),
  }
}

function beforeExecution(): RawLog {
  return {
    address: entryPoint,
    topics: encodeEventTopics({ abi: entryPointAbi, eventName: 'BeforeExecution' }),
    data: '0x',
  }
}
