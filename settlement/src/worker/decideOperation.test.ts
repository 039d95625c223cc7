import { expect, test } from 'vitest'
import { decideOperation, type OperationStep, type OperationView } from './decideOperation.ts'

const view: OperationView = {
  nonce: 5n,
  nextNonce: 5n,
  isPending: true,
  sentAgoMs: 1_000,
  sponsoredForMs: 300_000,
}

test.each<[string, Partial<OperationView>, OperationStep]>([
  ['is recorded and was not sent: it is', { sentAgoMs: undefined, isPending: false }, 'send'],
  ['is with the bundler: it waits', {}, 'wait'],
  ['is with the bundler, and nobody wrote down that it was sent: it waits', { sentAgoMs: undefined }, 'wait'],
  ['was lost by the bundler: the very same is sent', { isPending: false }, 'send'],
  [
    'was lost, and its sponsorship ends: another one under its nonce',
    { isPending: false, sponsoredForMs: 29_999 },
    'replace',
  ],
  ['was lost, and nobody knows until when it is sponsored', { isPending: false, sponsoredForMs: undefined }, 'send'],
  ['waits for as long as is stuck: another one under its nonce', { sentAgoMs: 45_000 }, 'replace'],
  ['was lost long after it was sent: another one under its nonce', { isPending: false, sentAgoMs: 45_000 }, 'replace'],
  ['has lost its nonce', { nextNonce: 6n }, 'lose'],
  ['has lost its nonce, although the bundler has it', { nextNonce: 6n, sentAgoMs: 90_000 }, 'lose'],
  ['waits for earlier ones that are gone from the chain', { nextNonce: 4n }, 'wait'],
  ['waits for earlier ones, and was lost itself', { nextNonce: 4n, isPending: false }, 'send'],
  ['waits for earlier ones in vain: another one with the next nonce', { nextNonce: 4n, sentAgoMs: 45_000 }, 'rebuild'],
])('an operation that %s', (_, change, step) => {
  expect(decideOperation({ ...view, ...change }, { stuckMs: 45_000 })).toBe(step)
})
