import type { Payment } from '@protocolbanks/stream-db'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type Address, encodeAbiParameters, encodeEventTopics, erc20Abi, getAddress, type Hex, type Log } from 'viem'
import { expect, test } from 'vitest'
import { comparePayment } from './comparePayment.ts'
import { readPayments } from './readPayments.ts'

const addressOf = (digit: string) => getAddress(`0x${digit.repeat(40)}`)
const [module, reserve, token, account, payee, other] = ['1', '2', '3', '4', '5', '6'].map(addressOf) as [
  Address,
  Address,
  Address,
  Address,
  Address,
  Address,
]
const grantId: Hex = `0x${'ab'.repeat(32)}`
const blockHash: Hex = `0x${'cd'.repeat(32)}`
const txHash: Hex = `0x${'ef'.repeat(32)}`

function log(address: Address, logIndex: number, topics: (Hex | Hex[] | null)[], data: Hex) {
  const at = { blockHash, blockNumber: 7n, transactionHash: txHash, transactionIndex: 0, removed: false }
  return { ...at, address, logIndex, topics, data } as unknown as Log<bigint, number, false>
}

function transfer(logIndex: number, from: Address, to: Address, value: bigint, at = token) {
  const topics = encodeEventTopics({ abi: erc20Abi, eventName: 'Transfer', args: { from, to } })
  return log(at, logIndex, topics, encodeAbiParameters([{ type: 'uint256' }], [value]))
}

function settled(logIndex: number, paid: bigint, to = payee, at = module) {
  const args = { account, grantId, payee: to }
  const topics = encodeEventTopics({ abi: sessionKeyValidatorAbi, eventName: 'Settled', args })
  return log(at, logIndex, topics, encodeAbiParameters([{ type: 'uint256' }, { type: 'uint256' }], [paid, paid]))
}

function transferred(...logs: Log<bigint, number, false>[]): bigint[] {
  return readPayments(logs, { module, reserve, token }).map((payment) => payment.transferred)
}

test('a payment is the transfer before it, from the account or from the reserve', () => {
  expect(transferred(transfer(0, account, payee, 5n), settled(1, 5n))).toEqual([5n])
  expect(transferred(transfer(0, reserve, payee, 5n), settled(1, 5n))).toEqual([5n])
})

test.each([
  ['none', []],
  ['one of another amount', [transfer(0, account, payee, 4n)]],
  ['one to another payee', [transfer(0, account, other, 5n)]],
  ['one from somebody else', [transfer(0, other, payee, 5n)]],
  ['one of another token', [transfer(0, account, payee, 5n, other)]],
  ['one that comes after', [transfer(9, account, payee, 5n)]],
])('a transfer proves no payment when it is %s', (_, logs) => {
  expect(transferred(...logs, settled(1, 5n))).toEqual([0n])
})

test('two payments never count one transfer', () => {
  expect(transferred(transfer(0, account, payee, 5n), settled(1, 5n), settled(2, 5n))).toEqual([5n, 0n])
  const both = [transfer(0, account, payee, 5n), settled(1, 5n), transfer(2, account, payee, 5n), settled(3, 5n)]
  expect(transferred(...both)).toEqual([5n, 5n])
})

test('what another contract announces is no payment', () => {
  expect(transferred(transfer(0, account, payee, 5n), settled(1, 5n, payee, other))).toEqual([])
})

test('a mirrored payment differs when its block is gone, or the chain has another one in its place', () => {
  const payment: Payment = { blockNumber: 7n, blockHash, logIndex: 1, txHash, grantId, account, payee, paid: 5n }
  const onChain = { grantId, payee, logIndex: 1, paid: 5n, transferred: 5n }
  const difference = (...payments: (typeof onChain)[]) => comparePayment(payment, { blockHash, payments })
  expect(difference(onChain)).toBeUndefined()
  expect(comparePayment(payment, undefined)).toMatchObject({ kind: 'transfer', expected: 5n, actual: 0n })
  expect(comparePayment(payment, { blockHash: txHash, payments: [onChain] })).toMatchObject({ actual: 0n })
  expect(difference({ ...onChain, logIndex: 2 })).toMatchObject({ actual: 0n })
  expect(difference({ ...onChain, payee: other })).toMatchObject({ actual: 0n })
  expect(difference({ ...onChain, paid: 6n, transferred: 6n })).toMatchObject({ expected: 5n, actual: 6n })
  expect(difference({ ...onChain, transferred: 0n })).toMatchObject({ expected: 5n, actual: 0n })
})
