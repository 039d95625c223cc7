import type { Hex } from '@protocolbanks/stream-protocol'
import { eq, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import { newId } from '../newId.ts'
import { isFree } from './collectible.ts'
import { insertItems, owingChannels } from './items.ts'
import { takeLane } from './lanes.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import type { SettlementTrigger } from './settlement.ts'
import { openStatesSql } from './stateLists.ts'

export type ClaimOptions = {
  grantId: Hex
  trigger: SettlementTrigger
  /** Who works on it, until when nobody else may. */
  leaseOwner: string
  leaseMs: number
  now: Date
  /** A settlement of the account that is under way for longer keeps no other out. 45,000 by default. */
  stuckMs?: number | undefined
  /** 64 by default, the most a settlement can have: those that are owed most. */
  maxItems?: number | undefined
  /** As in `listClaimable`. */
  skippedBackoffSeconds?: number | undefined
}

/**
 * Begins to settle a grant: what to pay whom, by the vouchers as they are now, in one transaction with the lease and the
 * lane. Takes up the open requests for the grant. Undefined when another settlement came first, nothing is owed, or the
 * account's lanes are taken.
 */
export function claimSettlement(db: Queryable, options: ClaimOptions): Promise<SettlementWork | undefined> {
  return db.transaction((tx) => claim(tx, options))
}

/** As in `ClaimOptions`. */
const defaultStuckMs = 45_000

async function claim(tx: Tx, options: ClaimOptions): Promise<SettlementWork | undefined> {
  const { grantId, trigger, leaseOwner, leaseMs, now, stuckMs = defaultStuckMs } = options
  const [grant] = await tx
    .select({ account: grantTable.account })
    .from(grantTable)
    .where(eq(grantTable.grantId, grantId))
  if (!grant) return undefined
  const lane = await takeLane(tx, { account: grant.account, now, stuckMs })
  if (lane === undefined) return undefined
  const id = newId('stl')
  const nowIso = now.toISOString()
  const leaseUntil = new Date(now.getTime() + leaseMs).toISOString()
  const { rowCount } = await tx.execute(sql`
    insert into settlement (
      id, grant_id, account, state, trigger, nonce_key, lane_since, lease_owner, lease_until, created_at, updated_at
    )
    select ${id}, g.grant_id, g.account, 'pending', ${trigger}, ${lane}, ${nowIso}::timestamptz, ${leaseOwner},
      ${leaseUntil}::timestamptz, ${nowIso}::timestamptz, ${nowIso}::timestamptz
    from "grant" g
    where g.grant_id = ${grantId.toLowerCase()} and ${isFree}
      and exists (select from channel c where ${owingChannels(options)})
    on conflict (grant_id) where state in ${openStatesSql} do nothing`)
  if (rowCount === 0) return undefined
  await insertItems(tx, id, options)
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
