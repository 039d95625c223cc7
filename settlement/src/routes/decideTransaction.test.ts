import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decideTransaction, type TransactionView } from './decideTransaction.ts'

const policy = { confirmations: 3, stuckMs: 1_000 }
const nonce = 7
const waiting: TransactionView = {
  head: 100n,
  nonce,
  finalNonce: nonce,
  includedIn: undefined,
  isKnown: true,
  sentAgoMs: 10,
}
const decide = (view: Partial<TransactionView>) => decideTransaction(nonce, { ...waiting, ...view }, policy)
const used = { nonce: nonce + 1 }

test.each([
  ['recorded only', { sentAgoMs: undefined }, 'send'],
  ['recorded only, though the node knows it', { sentAgoMs: undefined, isKnown: true }, 'send'],
  ['waiting in the mempool', {}, 'wait'],
  ['dropped by the node', { isKnown: false }, 'send'],
  ['waiting too long', { sentAgoMs: 1_000 }, 'replace'],
  ['dropped and too cheap for long', { sentAgoMs: 1_000, isKnown: false }, 'replace'],
  ['included, not deep enough', { ...used, includedIn: 99n }, 'wait'],
  ['included deep enough', { ...used, includedIn: 98n }, 'finish'],
  ['its nonce used by another, not deep enough', { ...used, isKnown: false }, 'wait'],
  ['its nonce used by another for good', { ...used, finalNonce: nonce + 1, isKnown: false }, 'lose'],
  ['behind transactions that a reorganisation took back', { nonce: nonce - 2 }, 'fill'],
] as const)('%s', (_, view, step) => {
  expect(decide(view)).toBe(step)
})

test('once included it is never sent, replaced or lost; and nothing is sent for a nonce that is used', () => {
  fc.assert(
    fc.property(
      fc.record({
        head: fc.bigInt(0n, 200n),
        nonce: fc.integer({ min: 0, max: 12 }),
        finalNonce: fc.integer({ min: 0, max: 12 }),
        includedIn: fc.option(fc.bigInt(0n, 200n), { nil: undefined }),
        isKnown: fc.boolean(),
        sentAgoMs: fc.option(fc.nat(5_000), { nil: undefined }),
      }),
      (view) => {
        const step = decide(view)
        if (view.includedIn !== undefined) expect(['wait', 'finish']).toContain(step)
        if (view.nonce > nonce) expect(['wait', 'finish', 'lose']).toContain(step)
        if (step === 'finish') expect(view.includedIn).toBeDefined()
      },
    ),
  )
})
