import { expect, test } from 'vitest'
import { decideStop, type StopView } from './decideStop.ts'

const policy = { stuckMs: 12_000, repeatMs: 5_000 }
const view: StopView = { status: 'active', isGuardian: true, included: undefined, nonce: 4, isGap: false }
const due = { kind: 'freeze', nonce: null, sentAgoMs: undefined } as const
const sent = { kind: 'freeze', nonce: 4, sentAgoMs: 1_000 } as const
const included = { txHash: '0x01', blockNumber: 9n, success: true } as const

test.each([
  ['is sent when nothing was', due, view, { do: 'send' }],
  ['waits for a transaction that is on its way', sent, view, { do: 'wait' }],
  ['hands the same transaction to the node again after a while', { ...sent, sentAgoMs: 5_000 }, view, { do: 'repeat' }],
  ['raises the fees of one that waits for long', { ...sent, sentAgoMs: 12_000 }, view, { do: 'replace' }],
  ['is done when the chain says so', sent, { ...view, status: 'frozen', included }, { do: 'confirm', txHash: '0x01' }],
  ['is done when somebody else did it', due, { ...view, status: 'frozen' }, { do: 'confirm', txHash: null }],
  ['a revocation stops a freeze', due, { ...view, status: 'revoked' }, { do: 'confirm', txHash: null }],
  ['a freeze is no revocation', { ...due, kind: 'revoke' }, { ...view, status: 'frozen' }, { do: 'send' }],
  ['is sent anew when its nonce went to another', sent, { ...view, nonce: 5 }, { do: 'send' }],
  ['is sent anew when it reverted', sent, { ...view, included: { ...included, success: false } }, { do: 'send' }],
  [
    'is sent anew when an earlier nonce is free',
    { ...sent, nonce: 6, sentAgoMs: 5_000 },
    { ...view, isGap: true },
    { do: 'send' },
  ],
  [
    'ends where the account named another guardian',
    due,
    { ...view, isGuardian: false },
    { do: 'giveUp', errorCode: 'guardian.not_named' },
  ],
  [
    'ends where the chain has no such grant',
    due,
    { ...view, status: 'none' },
    { do: 'giveUp', errorCode: 'grant.not_on_chain' },
  ],
] as const)('a stop %s', (_, stop, seen, expected) => {
  expect(decideStop(stop, seen, policy)).toEqual(expected)
})
