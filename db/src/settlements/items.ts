import { type Hex, maxClaims } from '@protocolbanks/stream-protocol'
import { type SQL, sql } from 'drizzle-orm'
import type { Tx } from '../createDb.ts'
import { collectible, isPayeeBlocked, skippedSince, writtenOff } from './collectible.ts'
import type { SettlementTrigger } from './settlement.ts'

export type ItemsQuery = {
  grantId: Hex
  trigger: SettlementTrigger
  now: Date
  /** 64 by default, the most a settlement can have: those that are owed most. */
  maxItems?: number | undefined
  /** As in `listClaimable`. */
  skippedBackoffSeconds?: number | undefined
}

/** For rows `c` of channel and `g` of grant: whether a settlement of the grant has an item for it. */
export function owingChannels({ grantId, trigger, now, skippedBackoffSeconds = 3_600 }: ItemsQuery): SQL {
  const since = new Date(now.getTime() - skippedBackoffSeconds * 1_000)
  const isByHand = trigger === 'request'
  return sql`c.grant_id = ${grantId.toLowerCase()} and c.signature is not null and ${collectible} > c.settled
    and not ${isPayeeBlocked} ${isByHand ? sql`` : sql`and not (${skippedSince(since)} or ${writtenOff})`}`
}

/** What is owed now, by the vouchers as they are. @returns how many */
export async function insertItems(tx: Tx, settlementId: string, query: ItemsQuery): Promise<number> {
  const { rowCount } = await tx.execute(sql`
    insert into settlement_item (
      settlement_id, payee, merchant_id, amount, cumulative_amount, signature, payee_proof
    )
    select ${settlementId}, c.payee, c.merchant_id, ${collectible}, c.cumulative_amount, c.signature, c.payee_proof
    from channel c join "grant" g on g.grant_id = c.grant_id where ${owingChannels(query)}
    order by ${collectible} - c.settled desc, c.payee
    limit ${query.maxItems ?? maxClaims}`)
  return rowCount ?? 0
}
