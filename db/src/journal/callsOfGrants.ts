import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { inArray, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { chargeTable } from './table.ts'

/** How often a payee was called under a grant. */
export type ChannelCalls = { grantId: Hex; payee: Address; calls: number }

/** From the journal; a channel without a call is not in it. As a tenant: their own. */
export async function callsOfGrants(db: Queryable, grantIds: readonly Hex[]): Promise<ChannelCalls[]> {
  if (grantIds.length === 0) return []
  return db
    .select({ grantId: chargeTable.grantId, payee: chargeTable.payee, calls: sql<number>`count(*)::integer` })
    .from(chargeTable)
    .where(inArray(chargeTable.grantId, [...grantIds]))
    .groupBy(chargeTable.grantId, chargeTable.payee)
}
