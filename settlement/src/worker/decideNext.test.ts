import {
  BundlerUnavailableError,
  FeeTooLowError,
  InvalidNonceError,
  SignatureRefusedError,
  SponsorshipRefusedError,
  SponsorUnavailableError,
  UserOperationTimeoutError,
} from '@protocolbanks/stream-bundler-client'
import { expect, test } from 'vitest'
import { decideNext } from './decideNext.ts'
import {
  ChainUnavailableError,
  FeeAboveLimitError,
  GrantEndedError,
  GrantFrozenError,
  NoClaimError,
  OperationDroppedError,
  PayeeNotKnownError,
  TransactionLostError,
} from './errors.ts'

const policy = { baseMs: 5_000, maxAttempts: 3, random: () => 0 }
const detail = { detail: 'x' }
const grantId = `0x${'00'.repeat(32)}` as const
const refused = (refusal: string, retryable: boolean) =>
  new SponsorshipRefusedError({ refusal, detail: 'x', retryable, rpcCode: -32_011 })

test.each([
  ['the bundler is gone', new BundlerUnavailableError(detail)],
  ['the paymaster is gone', new SponsorUnavailableError(detail)],
  ["the paymaster's database is gone", refused('sponsor.unavailable', true)],
  ['the chain is gone', new ChainUnavailableError({})],
  ['the grant is frozen', new GrantFrozenError({ grantId, what: 'grant' })],
  ['the chain is too dear', new FeeAboveLimitError({ maxFeePerGas: 2n, limit: 1n })],
  ["the day's gas is spent", refused('sponsor.budget_exceeded', true)],
  ['it is not included yet', new UserOperationTimeoutError({ userOpHash: grantId, waitedMs: 1 })],
])('when %s it waits, however often, and counts no attempt', (_, error) => {
  expect(decideNext(error, 2, policy)).toMatchObject({ do: 'wait' })
})

test.each([
  ['a nonce that was taken', new InvalidNonceError(detail)],
  ['fees that rose', new FeeTooLowError(detail)],
  ['an operation that was dropped', new OperationDroppedError({ userOpHash: grantId })],
  ['a transaction whose nonce was taken', new TransactionLostError({ sender: `0x${'00'.repeat(20)}`, nonce: 1 })],
  ['a paymaster whose mirror is behind the chain', refused('sponsor.grant_unknown', false)],
  ['something nobody thought of', new TypeError('x')],
])('after %s it tries again at 5 and 20 s, then gives up', (_, error) => {
  expect(decideNext(error, 0, policy)).toEqual({ do: 'retry', ms: 5_000 })
  expect(decideNext(error, 1, policy)).toEqual({ do: 'retry', ms: 20_000 })
  expect(decideNext(error, 2, policy)).toEqual({ do: 'giveUp' })
})

test('a claim that lacks its proof is made again at once, after however many attempts', () => {
  expect(decideNext(new PayeeNotKnownError({ grantId, payees: [] }), 9, policy)).toEqual({ do: 'retry', ms: 0 })
})

test.each([
  ['no voucher that can be paid', new NoClaimError({ grantId, leftOut: [] })],
  ['a grant that ended', new GrantEndedError({ grantId, code: 'grant.revoked' })],
  ['a refused signature', new SignatureRefusedError(detail)],
  ['a refusal by policy', refused('sponsor.token', false)],
])('%s is given up at once', (_, error) => {
  expect(decideNext(error, 0, policy)).toEqual({ do: 'giveUp' })
})

test('retries are spread by up to a quarter', () => {
  const { ms } = decideNext(new FeeTooLowError(detail), 0, { ...policy, random: () => 1 }) as { ms: number }
  expect(ms).toBe(6_250)
})
