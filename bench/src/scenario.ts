import { type Chain, type Meter, type Service, sessionRequirements } from '@protocolbanks/stream-gateway'
import {
  type Address,
  createVoucherHasher,
  encodeHeader,
  type GrantTerms,
  grantIdOf,
  type Hex,
  payeeRootOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { getAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

// Grants of one agent at one service, each of an account of its own: what server and load generator agree on.

const addressOf = (digit: string) => getAddress(`0x${digit.repeat(40)}`)
const sessionKey: Hex = `0x${'5e'.repeat(32)}`
const validAfter = 1_700_000_000

export const chain: Chain = {
  chainId: 31_337,
  module: addressOf('a'),
  settler: addressOf('b'),
  token: addressOf('c'),
  entryPoint: addressOf('d'),
}
export const account = addressOf('1')
export const payee = addressOf('2')
export const price = 100n
export const funds = 10n ** 15n

export const terms: GrantTerms = {
  sessionKey: privateKeyToAccount(sessionKey).address,
  settler: chain.settler,
  token: chain.token,
  totalLimit: funds,
  periodLimit: 0n,
  period: 0,
  validAfter,
  validUntil: validAfter + 10 * 365 * 86_400,
  payeeRoot: payeeRootOf([payee]),
  source: 'allowance',
  salt: `0x${'00'.repeat(24)}`,
}

export const grantId = grantIdAt(0)

/** The account of a grant; the first is `account`. */
export function accountAt(index: number): Address {
  return getAddress(`0x${(BigInt(account) + BigInt(index)).toString(16).padStart(40, '0')}`)
}

export function grantIdAt(index: number): Hex {
  return grantIdOf({ chainId: chain.chainId, module: chain.module, account: accountAt(index), epoch: 0n }, terms)
}

/** What Postgres says of an account before its first call: what its first call has the meter told. */
export function accountStateAt(index: number): Parameters<Meter['mirror']>[0] {
  const { totalLimit, periodLimit, period, validAfter, validUntil, source } = terms
  const limits = { totalLimit, periodLimit, period, validAfter, validUntil }
  const nothing = { settled: 0n, periodIndex: 0, periodSettled: 0n, channels: [] }
  return {
    account: accountAt(index),
    token: chain.token,
    block: 1n,
    funds: { allowance: funds, reserve: 0n },
    grants: [{ grantId: grantIdAt(index), source, status: 'active', ...limits, ...nothing }],
  }
}

/**
 * PAYMENT-SIGNATURE of calls `from` to `from + count - 1`, over `grants` grants in turn: signed before the clock runs.
 */
export function signPayments(service: Service, from: number, count: number, grants = 1): string[] {
  const hash = createVoucherHasher(chain)
  const accepted = sessionRequirements(chain, service, service.price)
  const grantIds = Array.from({ length: grants }, (_, index) => grantIdAt(index))
  return Array.from({ length: count }, (_, index) => {
    const grantId = grantIds[(from + index) % grants] ?? grantIdAt(0)
    const cumulativeAmount = price * BigInt(Math.floor((from + index) / grants) + 1)
    const { signature } = signVoucher(hash, sessionKey, { grantId, payee, cumulativeAmount })
    return encodeHeader({
      x402Version: 2,
      accepted,
      payload: { grantId, cumulativeAmount: cumulativeAmount.toString(), signature },
      extensions: { 'payment-identifier': { info: { id: `bench-${String(from + index).padStart(16, '0')}` } } },
    })
  })
}

export function serviceOf(id: string, merchantId: string): Service {
  return {
    id,
    name: 'paid',
    merchantId,
    payee,
    token: chain.token,
    price,
    pathPrefix: '/paid',
    upstream: undefined,
    upstreamTimeoutMs: 1000,
    maxAmountPerCall: undefined,
    maxCallsPerMinute: undefined,
  }
}
