import {
  AccountNotDeployedError,
  BundlerUnavailableError,
  FeeTooLowError,
  InvalidNonceError,
  NonceBusyError,
  PaymasterDepositError,
  SignatureRefusedError,
  SponsorshipRefusedError,
  SponsorUnavailableError,
  UserOperationTimeoutError,
} from '@protocolbanks/stream-bundler-client'
import type { Address } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import type { UnpaidReason } from '../payable/explainUnpaid.ts'
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
  UnpayableError,
} from './errors.ts'

const policy = { baseMs: 5_000, maxAttempts: 3, nowMs: 1_000_000, random: () => 0 }
const tried = (attempts: number, waits = 0) => ({ attempts, waits })
const detail = { detail: 'x' }
const grantId = `0x${'00'.repeat(32)}` as const
const refused = (refusal: string, retryable: boolean) =>
  new SponsorshipRefusedError({ refusal, detail: 'x', retryable, rpcCode: -32_011 })

test.each([
  ['the bundler is gone', new BundlerUnavailableError(detail)],
  ['the paymaster is gone', new SponsorUnavailableError(detail)],
  ["the paymaster's database is gone", refused('sponsor.unavailable', true)],
  ['the chain is gone', new ChainUnavailableError({})],
  ['it is not included yet', new UserOperationTimeoutError({ userOpHash: grantId, waitedMs: 1 })],
])('when %s it waits, however often, and counts no attempt', (_, error) => {
  expect(decideNext(error, tried(2), policy)).toMatchObject({ do: 'wait', reason: 'unavailable' })
})

test('while the bundler has an earlier version in a bundle it waits, however often, and counts no attempt', () => {
  expect(decideNext(new NonceBusyError(detail), tried(2), policy)).toEqual({
    do: 'wait',
    reason: 'nonce_used',
    ms: 3_000,
  })
})

test.each([
  ['a nonce that was taken', new InvalidNonceError(detail), 'nonce_used'],
  ['fees that rose', new FeeTooLowError(detail), 'fees_too_low'],
  ['an operation that was dropped', new OperationDroppedError({ userOpHash: grantId }), 'dropped'],
  ['a lost transaction', new TransactionLostError({ sender: `0x${'00'.repeat(20)}`, nonce: 1 }), 'nonce_used'],
  ['a paymaster that is behind the chain', refused('sponsor.grant_unknown', false), 'sponsorship_refused'],
  ['something nobody thought of', new TypeError('x'), 'internal'],
] as const)('after %s it tries again at 5 and 20 s, then gives up', (_, error, reason) => {
  expect(decideNext(error, tried(0), policy)).toEqual({ do: 'retry', reason, ms: 5_000 })
  expect(decideNext(error, tried(1), policy)).toEqual({ do: 'retry', reason, ms: 20_000 })
  expect(decideNext(error, tried(2), policy)).toEqual({ do: 'giveUp', reason })
})

const payee: Address = `0x${'11'.repeat(20)}`
const unpayable = (reason: UnpaidReason, periodEndsAt?: number) =>
  new UnpayableError({ grantId, leftOut: [{ payee, reason }], periodEndsAt })

test.each([
  ['the allowance is gone', unpayable('claim.allowance'), 'allowance_gone', 30_000],
  ['the balance is too low', unpayable('claim.balance'), 'balance_too_low', 30_000],
  ['the reserve is empty', unpayable('claim.reserve'), 'reserve_empty', 30_000],
  ['the payee is blocked', unpayable('claim.payee_blocked'), 'payee_blocked', 30_000],
  ['the account is blocked', unpayable('claim.account_blocked'), 'account_blocked', 30_000],
  ['the token refuses', unpayable('claim.token_refuses'), 'token_refuses', 30_000],
  ['the grant is frozen', new GrantFrozenError({ grantId, what: 'grant' }), 'grant_frozen', 30_000],
  ['the paymaster has no deposit', new PaymasterDepositError(detail), 'paymaster_deposit', 30_000],
  ["the day's gas is spent", refused('sponsor.budget_exceeded', true), 'paymaster_budget', 300_000],
  ['the paymaster finds fees too high', refused('sponsor.fee_above_limit', true), 'fees_too_high', 15_000],
  ['the chain is too dear', new FeeAboveLimitError({ maxFeePerGas: 2n, limit: 1n }), 'fees_too_high', 15_000],
] as const)('while %s it waits ever longer, at most 15 minutes, and never gives up', (_, error, reason, ms) => {
  expect(decideNext(error, tried(2, 0), policy)).toEqual({ do: 'postpone', reason, ms })
  expect(decideNext(error, tried(2, 1), policy)).toEqual({ do: 'postpone', reason, ms: Math.min(2 * ms, 900_000) })
  expect(decideNext(error, tried(2, 1_000), policy)).toEqual({ do: 'postpone', reason, ms: 900_000 })
})

test('a period that is used up waits until the next begins, a total limit for ever', () => {
  const soon = unpayable('claim.period_limit', 1_007)
  expect(decideNext(soon, tried(0), policy)).toEqual({ do: 'postpone', reason: 'limit_reached', ms: 8_000 })
  const late = unpayable('claim.period_limit', 1_000_000)
  expect(decideNext(late, tried(0), policy)).toEqual({ do: 'postpone', reason: 'limit_reached', ms: 30_000 })
  expect(decideNext(unpayable('claim.total_limit'), tried(0), policy)).toEqual({
    do: 'giveUp',
    reason: 'limit_reached',
  })
})

test('a claim that lacks its proof is made again at once, after however many attempts', () => {
  expect(decideNext(new PayeeNotKnownError({ grantId, payees: [] }), tried(9), policy)).toMatchObject({
    do: 'retry',
    ms: 0,
  })
})

test.each([
  ['no voucher that can be paid', new NoClaimError({ grantId, leftOut: [] }), 'voucher_invalid'],
  ['a grant that ended', new GrantEndedError({ grantId, code: 'grant.revoked' }), 'grant_ended'],
  ['a refused signature', new SignatureRefusedError(detail), 'account_refused'],
  ['a refusal by policy', refused('sponsor.token', false), 'sponsorship_refused'],
  ['an account of an unknown kind', new AccountNotDeployedError(detail), 'account_unknown'],
] as const)('%s is given up at once', (_, error, reason) => {
  expect(decideNext(error, tried(0), policy)).toEqual({ do: 'giveUp', reason })
})

test('retries are spread by up to a quarter', () => {
  const { ms } = decideNext(new FeeTooLowError(detail), tried(0), { ...policy, random: () => 1 }) as { ms: number }
  expect(ms).toBe(6_250)
})
