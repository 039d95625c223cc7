import { type Hex, maxClaims } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../createDb.ts'
import { newId } from '../newId.ts'
import { collectible, isFree, skippedSince, writtenOff } from './collectible.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import type { SettlementTrigger } from './settlement.ts'

export type ClaimOptions = {
  grantId: Hex
  trigger: SettlementTrigger
  lane: number
  /** Who works on it, until when nobody else may. */
  leaseOwner: string
  leaseMs: number
  now: Date
  /** 64 by default, the most a settlement can have: those that are owed most. */
  maxItems?: number | undefined
  /** As in `listClaimable`. */
  skippedBackoffSeconds?: number | undefined
}

/**
 * Records the intent to settle a grant: what to pay whom, by the vouchers as they are now, in one transaction with the
 * lease. Takes up the open requests for the grant. Undefined when another settlement came first, or nothing is owed.
 */
export function claimSettlement(db: Queryable, options: ClaimOptions): Promise<SettlementWork | undefined> {
  return db.transaction((tx) => claim(tx, options))
}

async function claim(tx: Tx, options: ClaimOptions): Promise<SettlementWork | undefined> {
  const { grantId, trigger, lane, leaseOwner, leaseMs, now } = options
  const { maxItems = maxClaims, skippedBackoffSeconds = 3_600 } = options
  const id = newId('stl')
  const leaseUntil = new Date(now.getTime() + leaseMs)
  const backoffSince = new Date(now.getTime() - skippedBackoffSeconds * 1_000)
  const owing = sql`c.grant_id = ${grantId.toLowerCase()} and c.signature is not null and ${collectible} > c.settled
    ${trigger === 'request' ? sql`` : sql`and not (${skippedSince(backoffSince)} or ${writtenOff})`}`
  const { rowCount } = await tx.execute(sql`
    insert into settlement (
      id, grant_id, account, state, trigger, nonce_key, lease_owner, lease_until, created_at, updated_at
    )
    select ${id}, g.grant_id, g.account, 'intended', ${trigger}, ${lane}, ${leaseOwner},
      ${leaseUntil.toISOString()}::timestamptz, ${now.toISOString()}::timestamptz, ${now.toISOString()}::timestamptz
    from "grant" g
    where g.grant_id = ${grantId.toLowerCase()} and ${isFree} and exists (select from channel c where ${owing})
    on conflict (grant_id) where state in ('intended', 'submitted', 'failed') do nothing`)
  if (rowCount === 0) return undefined
  await tx.execute(sql`
    insert into settlement_item (
      settlement_id, payee, merchant_id, amount, cumulative_amount, signature, payee_proof
    )
    select ${id}, c.payee, c.merchant_id, ${collectible}, c.cumulative_amount, c.signature, c.payee_proof
    from channel c where ${owing}
    order by ${collectible} - c.settled desc, c.payee
    limit ${maxItems}`)
  await tx.execute(sql`
    update settlement_request set settlement_id = ${id}
    where grant_id = ${grantId.toLowerCase()} and settlement_id is null`)
  const [work] = await loadSettlementWork(tx, [id])
  // The mirror can move between the two statements; without items there is nothing to intend.
  if (work && work.items.length > 0) return work
  await tx.execute(sql`update settlement_request set settlement_id = null where settlement_id = ${id}`)
  await tx.execute(sql`delete from settlement where id = ${id}`)
  return undefined
}
