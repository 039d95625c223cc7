import { randomBytes } from 'node:crypto'
import {
  type Address,
  type GrantTerms,
  grantIdOf,
  type Hex,
  payeeProofOf,
  payeeRootOf,
} from '@protocolbanks/stream-protocol'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'
import { ensureChannel } from '../grants/channels.ts'
import { type GrantFromChain, upsertAccountsFromChain, upsertGrantsFromChain } from '../grants/mirror.ts'
import type { ChargeEvent } from '../journal/appendCharges.ts'
import { createMerchant, type Merchant } from '../merchants/merchants.ts'
import { createService, type Service } from '../services/services.ts'
import type { NewX402Payment } from '../x402Payments/x402Payment.ts'

export const usdc: Address = '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913'
const chainId = 31_337
const module: Address = '0x5FbDB2315678afecb367f032d93F642f64180aa3'

export function randomAddress(): Address {
  return getAddress(randomHex(20))
}

export function randomHex(size: number): Hex {
  return `0x${randomBytes(size).toString('hex')}`
}

/** A merchant with one service, and what was written of them. */
export async function arrangeMerchant(
  db: Queryable,
  service: Partial<Service> = {},
): Promise<{ merchant: Merchant; service: Service }> {
  const merchant = await createMerchant(db, { name: 'Weather Inc', payee: randomAddress() })
  const name = randomHex(6)
  return {
    merchant,
    service: await createService(db, {
      name,
      pathPrefix: `/${name}`,
      price: 10_000n,
      token: usdc,
      ...service,
      merchantId: merchant.id,
    }),
  }
}

/** An active grant that is on-chain, with a funded account and a channel for each merchant. */
export async function arrangeGrant(
  db: Queryable,
  merchants: readonly Merchant[],
  change: Partial<GrantTerms> & Partial<Pick<GrantFromChain, 'account' | 'status' | 'blockNumber'>> = {},
): Promise<GrantFromChain> {
  const { account = randomAddress(), status = 'active', blockNumber = 100n, ...terms } = change
  const payees = merchants.length === 0 ? [account] : merchants.map(({ payee }) => payee)
  const grant = grantFromChain({ account, status, blockNumber, payees, terms })
  await upsertGrantsFromChain(db, [grant])
  await upsertAccountsFromChain(db, [
    {
      account,
      token: grant.terms.token,
      balance: 1_000_000_000n,
      allowance: 500_000_000n,
      accountFrozen: false,
      guardian: randomAddress(),
      epoch: 0n,
      blockNumber,
    },
  ])
  for (const { id: merchantId, payee } of merchants) {
    const payeeProof = payeeProofOf(payees, payee)
    await ensureChannel(db, { grantId: grant.grantId, payee, merchantId, payeeProof })
  }
  return grant
}

export function grantFromChain(of: {
  account: Address
  status: GrantFromChain['status']
  blockNumber: bigint
  payees: readonly Address[]
  terms?: Partial<GrantTerms>
}): GrantFromChain {
  const terms: GrantTerms = {
    sessionKey: randomAddress(),
    settler: randomAddress(),
    token: usdc,
    totalLimit: 100_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: 1_700_000_000,
    validUntil: 4_000_000_000,
    payeeRoot: payeeRootOf(of.payees),
    source: 'allowance',
    salt: randomHex(24),
    ...of.terms,
  }
  return {
    grantId: grantIdOf({ chainId, module, account: of.account, epoch: 0n }, terms),
    account: of.account,
    epoch: 0n,
    terms,
    status: of.status,
    settled: 0n,
    periodIndex: 0,
    periodSettled: 0n,
    blockNumber: of.blockNumber,
  }
}

/** A charge at the merchant's service; its voucher allows `cumulativeAmount`. */
export function chargeEvent(
  grant: Pick<GrantFromChain, 'grantId' | 'account'>,
  { merchant, service }: { merchant: Merchant; service: Service },
  of: { amount: bigint; cumulativeAmount: bigint; occurredAtMs: number },
): ChargeEvent {
  return {
    ...of,
    eventId: `p7-${randomHex(8)}`,
    account: grant.account,
    grantId: grant.grantId,
    payee: merchant.payee,
    merchantId: merchant.id,
    serviceId: service.id,
    requestId: randomHex(12),
    fingerprint: randomHex(32),
    signature: randomHex(65),
  }
}

/** A payment to the merchant by x402's `exact`, verified now. */
export function x402Payment(
  { merchant, service }: { merchant: Merchant; service: Service },
  change: Partial<NewX402Payment> = {},
): NewX402Payment {
  return {
    origin: 'gateway',
    merchantId: merchant.id,
    serviceId: service.id,
    token: service.token,
    payer: randomAddress(),
    payee: merchant.payee,
    amount: service.price,
    validAfter: 0n,
    validBefore: 4_000_000_000n,
    nonce: randomHex(32),
    signature: randomHex(65),
    paymentIdentifier: null,
    fingerprint: randomHex(32),
    ...change,
  }
}
