import { expect, test } from 'vitest'
import { decideStop, type StopView } from './decideStop.ts'

const view: StopView = { proof: undefined, status: 'active', isGuardian: true }
const freeze = { kind: 'freeze' } as const
const revoke = { kind: 'revoke' } as const
const proof = { txHash: '0x01', blockNumber: 9n, logIndex: 2 } as const

test.each([
  ['is sent while the chain does not have it', freeze, view, { do: 'send' }],
  ['is done when its own event says so', freeze, { ...view, status: 'frozen', proof }, { do: 'confirm', proof }],
  ['was done, though its owner resumed it since', freeze, { ...view, proof }, { do: 'confirm', proof }],
  ['is done when somebody else did it', freeze, { ...view, status: 'frozen' }, { do: 'confirm', proof: undefined }],
  [
    'of one kind is done by the stronger one',
    freeze,
    { ...view, status: 'revoked' },
    { do: 'confirm', proof: undefined },
  ],
  ['for good is not done by a freeze', revoke, { ...view, status: 'frozen' }, { do: 'send' }],
  [
    'that somebody else did is done, whoever the guardian is',
    freeze,
    { proof: undefined, status: 'frozen', isGuardian: false },
    { do: 'confirm', proof: undefined },
  ],
  [
    'ends where the account named another guardian',
    freeze,
    { ...view, isGuardian: false },
    { do: 'giveUp', errorCode: 'guardian.not_named' },
  ],
  [
    'ends where the chain has no such grant',
    freeze,
    { ...view, status: 'none' },
    { do: 'giveUp', errorCode: 'grant.not_on_chain' },
  ],
] as const)('a stop %s', (_, stop, seen, expected) => {
  expect(decideStop(stop, seen)).toEqual(expected)
})
