import { expect, test } from 'vitest'
import { decideTransaction } from './decideTransaction.ts'

const policy = { stuckMs: 12_000, repeatMs: 5_000 }
const view = { isIncluded: false, nextNonce: 4, isGap: false }

test.each([
  ['waits for a block', { nonce: 4, sentAgoMs: 1_000 }, view, 'wait'],
  ['is handed to the node again after a while', { nonce: 4, sentAgoMs: 5_000 }, view, 'repeat'],
  ['is sent with higher fees when it waits for long', { nonce: 4, sentAgoMs: 12_000 }, view, 'replace'],
  ['is read when it is in a block', { nonce: 4, sentAgoMs: 0 }, { ...view, isIncluded: true }, 'read'],
  ['is read when its nonce went to another', { nonce: 4, sentAgoMs: 0 }, { ...view, nextNonce: 5 }, 'read'],
  ['is read when it waits for nothing', { nonce: 6, sentAgoMs: 5_000 }, { ...view, isGap: true }, 'read'],
  ['waits a moment for the one before it', { nonce: 6, sentAgoMs: 1_000 }, { ...view, isGap: true }, 'wait'],
] as const)('a transaction %s', (_, sent, seen, expected) => {
  expect(decideTransaction(sent, seen, policy)).toBe(expected)
})
