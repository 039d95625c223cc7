import { randomBytes } from 'node:crypto'
import {
  createMerchant,
  createService,
  type Db,
  getChannel,
  listCharges,
  type Merchant,
  type Service,
  upsertAccountsFromChain,
  upsertGrantsFromChain,
} from '@protocolbanks/stream-db'
import {
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  type Hex,
  payeeRootOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { type Address, getAddress, zeroAddress } from 'viem'
import { privateKeyToAddress } from 'viem/accounts'
import type { Meter, Ticket, Use } from '../../meter/meter.ts'

const chain = { chainId: 31_337, module: getAddress(`0x${'a1'.repeat(20)}`) }
export const token = getAddress(`0x${'c0'.repeat(20)}`)
export const hashVoucher = createVoucherHasher(chain)

/** A merchant with one service, in Postgres. */
export type Seller = { merchant: Merchant; service: Service }

/** A grant in Postgres whose session key signs what it is asked to. */
export type Buyer = {
  account: Address
  grantId: Hex
  sessionPrivateKey: Hex
  /** Of the newest voucher. */
  cumulativeAmount: bigint
}

export function randomHex(size: number): Hex {
  return `0x${randomBytes(size).toString('hex')}`
}

export async function createSeller(db: Db): Promise<Seller> {
  const merchant = await createMerchant(db, { name: 'Weather Inc', payee: getAddress(randomHex(20)) })
  const name = randomHex(6)
  const service = await createService(db, {
    merchantId: merchant.id,
    name,
    pathPrefix: `/${name}`,
    price: 10_000n,
    token,
  })
  return { merchant, service }
}

export async function createBuyer(db: Db, { merchant }: Seller): Promise<Buyer> {
  const account = getAddress(randomHex(20))
  const sessionPrivateKey = randomHex(32)
  const terms: GrantTerms = {
    sessionKey: privateKeyToAddress(sessionPrivateKey),
    settler: zeroAddress,
    token,
    totalLimit: 1_000_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: 1_700_000_000,
    validUntil: 4_000_000_000,
    payeeRoot: payeeRootOf([merchant.payee]),
    source: 'allowance',
    salt: randomHex(24),
  }
  const grantId = grantIdOf({ ...chain, account, epoch: 0n }, terms)
  const state = { status: 'active', settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 1n } as const
  await upsertGrantsFromChain(db, [{ ...state, grantId, account, epoch: 0n, terms }])
  await upsertAccountsFromChain(db, [
    {
      account,
      token,
      balance: 1_000_000_000n,
      allowance: 1_000_000_000n,
      accountFrozen: false,
      guardian: zeroAddress,
      epoch: 0n,
      blockNumber: 1n,
    },
  ])
  return { account, grantId, sessionPrivateKey, cumulativeAmount: 0n }
}

/** The buyer's next call, with a voucher for it. */
export function nextUse(buyer: Buyer, { merchant, service }: Seller, change: Partial<Use> = {}): Use {
  const { account, grantId, sessionPrivateKey } = buyer
  const { amount = 10_000n } = change
  buyer.cumulativeAmount += amount
  const { cumulativeAmount } = buyer
  const { payee } = merchant
  const { signature } = signVoucher(hashVoucher, sessionPrivateKey, { grantId, payee, cumulativeAmount })
  return {
    account,
    grantId,
    payee,
    amount,
    cumulativeAmount,
    requestId: randomHex(16),
    fingerprint: 'f',
    nowMs: Date.now(),
    settlementMarginSeconds: 600,
    event: { service: service.id, merchant: merchant.id, signature },
    ...change,
  }
}

/** Charges and serves. */
export async function buy(meter: Meter, use: Use): Promise<Ticket> {
  const decision = await meter.charge(use)
  if (!decision.ok) throw new Error(`The charge was refused: ${decision.code}`)
  meter.served(decision.ticket)
  return decision.ticket
}

/** What Postgres has of a buyer at a seller. */
export async function journalled(
  db: Db,
  { grantId }: Buyer,
  { merchant }: Seller,
): Promise<{ calls: number; charged: bigint; channel: bigint }> {
  const { items } = await listCharges(db, { grantId, limit: 200 })
  const channel = await getChannel(db, grantId, merchant.payee)
  return {
    calls: items.length,
    charged: items.reduce((sum, { amount }) => sum + amount, 0n),
    channel: channel?.charged ?? 0n,
  }
}
