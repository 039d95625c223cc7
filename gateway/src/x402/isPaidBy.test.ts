import { encodeAbiParameters, encodeEventTopics, getAddress, type Hex, type Log } from 'viem'
import { expect, test } from 'vitest'
import { eip3009Abi } from './eip3009Abi.ts'
import { isPaidBy } from './isPaidBy.ts'

const addressOf = (digit: string) => getAddress(`0x${digit.repeat(40)}`)
const [token, from, to, other] = ['1', '2', '3', '4'].map(addressOf) as [Hex, Hex, Hex, Hex]
const nonce: Hex = `0x${'ab'.repeat(32)}`
const payment = { token, from, to, value: 7n, nonce }

function log(address: Hex, topics: readonly unknown[], data: Hex): Log {
  const place = { blockHash: nonce, blockNumber: 1n, transactionHash: nonce, transactionIndex: 0, logIndex: 0 }
  return { ...place, address, topics, data, removed: false } as Log
}

function use(of: { authorizer?: Hex; nonce?: Hex; at?: Hex } = {}): Log {
  const args = { authorizer: of.authorizer ?? from, nonce: of.nonce ?? nonce }
  return log(of.at ?? token, encodeEventTopics({ abi: eip3009Abi, eventName: 'AuthorizationUsed', args }), '0x')
}

function transfer(of: { from?: Hex; to?: Hex; value?: bigint; at?: Hex } = {}): Log {
  const args = { from: of.from ?? from, to: of.to ?? to }
  const data = encodeAbiParameters([{ type: 'uint256' }], [of.value ?? 7n])
  return log(of.at ?? token, encodeEventTopics({ abi: eip3009Abi, eventName: 'Transfer', args }), data)
}

test('a use with its transfer right after it pays, whatever stands around it', () => {
  expect(isPaidBy([use(), transfer()], payment)).toBe(true)
  expect(isPaidBy([transfer({ to: other }), use(), use({ at: other }), transfer(), use()], payment)).toBe(true)
})

test.each([
  ['no transfer', [use()]],
  ['no use', [transfer()]],
  ['the transfer before the use', [transfer(), use()]],
  ['a use of another nonce', [use({ nonce: `0x${'cd'.repeat(32)}` }), transfer()]],
  ['a use by another', [use({ authorizer: other }), transfer()]],
  ['another payee', [use(), transfer({ to: other })]],
  ['another payer', [use(), transfer({ from: other })]],
  ['less', [use(), transfer({ value: 6n })]],
  ['another token', [use({ at: other }), transfer({ at: other })]],
  [
    'the transfer of another authorisation',
    [use(), transfer({ to: other, value: 0n }), use({ nonce: `0x${'cd'.repeat(32)}` }), transfer()],
  ],
] as [string, Log[]][])('%s does not pay', (_, logs) => {
  expect(isPaidBy(logs, payment)).toBe(false)
})
