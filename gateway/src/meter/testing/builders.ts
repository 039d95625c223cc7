import { randomBytes } from 'node:crypto'
import { type Address, getAddress, type Hex } from 'viem'
import type { AccountState, GrantState, Use } from '../meter.ts'

export const token: Address = '0x5FbDB2315678afecb367f032d93F642f64180aa3'
export const nowMs = Date.UTC(2026, 0, 1, 12, 0, 0)
export const nowSeconds = nowMs / 1000

export function randomAddress(): Address {
  return getAddress(`0x${randomBytes(20).toString('hex')}`)
}

export function randomBytes32(): Hex {
  return `0x${randomBytes(32).toString('hex')}`
}

/** An account with one grant and one payee of its own, with generous limits. */
export type Payer = { account: Address; grantId: Hex; payee: Address }

export function createPayer(): Payer {
  return { account: randomAddress(), grantId: randomBytes32(), payee: randomAddress() }
}

let requests = 0

export function useOf({ account, grantId, payee }: Payer, changes: Partial<Use> = {}): Use {
  requests += 1
  return {
    account,
    grantId,
    payee,
    amount: 10n,
    cumulativeAmount: 1_000n,
    requestId: `request-${String(requests).padStart(8, '0')}`,
    fingerprint: 'fingerprint-a',
    nowMs,
    settlementMarginSeconds: 60,
    event: { service: 'weather', merchant: 'acme', signature: '0x5161' },
    ...changes,
  }
}

export function grantStateOf({ grantId }: Pick<Payer, 'grantId'>, changes: Partial<GrantState> = {}): GrantState {
  return {
    grantId,
    source: 'allowance',
    status: 'active',
    validAfter: nowSeconds - 1_000,
    validUntil: nowSeconds + 100_000,
    totalLimit: 1_000_000n,
    periodLimit: 0n,
    period: 0,
    settled: 0n,
    periodIndex: 0,
    periodSettled: 0n,
    channels: [],
    ...changes,
  }
}

export function accountStateOf(payer: Payer, changes: Partial<AccountState> = {}): AccountState {
  const { account } = payer
  return { account, token, block: 1n, funds: fundsOf(1_000_000n), grants: [grantStateOf(payer)], ...changes }
}

/** Of an account with an allowance, and nothing in the reserve unless said. */
export function fundsOf(allowance: bigint, reserve = 0n): AccountState['funds'] {
  return { allowance, reserve }
}

export function channelStateOf(
  { payee }: Pick<Payer, 'payee'>,
  changes: Partial<GrantState['channels'][number]> = {},
): GrantState['channels'][number] {
  return { payee, authorized: 0n, charged: 0n, settled: 0n, status: 'active', ...changes }
}
