import { type Address, type Hex, maxPayees } from '@protocolbanks/stream-protocol'
import { and, desc, eq, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { channelTable } from './table.ts'

/** One grant at one payee. Amounts in base units. */
export type Channel = {
  grantId: Hex
  payee: Address
  /** Null: the payee is not a merchant here. */
  merchantId: string | null
  /** Of the newest voucher. */
  cumulativeAmount: bigint
  /** Of the newest voucher; null before the first. */
  signature: Hex | null
  payeeProof: Hex[]
  /** Sum of the journal. */
  charged: bigint
  /** On-chain, as of `settledBlock`. */
  settled: bigint
  settledBlock: bigint
  /** Of the oldest charge that is not settled; null when nothing is owed. */
  firstUnsettledAt: Date | null
  lastChargeAt: Date | null
  createdAt: Date
}

/** Opens the channel of a merchant's payee on a grant; fills in what an earlier row of it lacks. Safe to repeat. */
export async function ensureChannel(
  db: Queryable,
  channel: { grantId: Hex; payee: Address; merchantId: string; payeeProof: readonly Hex[] },
): Promise<void> {
  const { grantId, payee, merchantId } = channel
  const payeeProof = [...channel.payeeProof]
  await db
    .insert(channelTable)
    .values({ grantId, payee, merchantId, payeeProof })
    .onConflictDoUpdate({
      target: [channelTable.grantId, channelTable.payee],
      set: { merchantId: sql`coalesce(${channelTable.merchantId}, excluded.merchant_id)`, payeeProof },
    })
}

export async function getChannel(db: Queryable, grantId: Hex, payee: Address): Promise<Channel | undefined> {
  const [channel] = await db
    .select()
    .from(channelTable)
    .where(and(eq(channelTable.grantId, grantId), eq(channelTable.payee, payee)))
  return channel
}

/** At most as many as a grant can have payees. As a tenant: their own. */
export function listChannels(db: Queryable, grantId: Hex): Promise<Channel[]> {
  return db
    .select()
    .from(channelTable)
    .where(eq(channelTable.grantId, grantId))
    .orderBy(desc(channelTable.lastChargeAt), channelTable.payee)
    .limit(maxPayees)
}
