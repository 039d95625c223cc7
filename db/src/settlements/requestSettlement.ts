import type { Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { collectible } from './collectible.ts'

/**
 * Asks for a settlement of a grant by hand. Repeating it renews the open request. Undefined when the grant owes nothing
 * (a tenant: nothing to them), or there is no such grant.
 */
export async function requestSettlement(
  db: Queryable,
  { grantId, merchantId, actor }: { grantId: Hex; merchantId: string | null; actor: string },
): Promise<{ id: string } | undefined> {
  const { rows } = await db.execute<{ id: string }>(sql`
    insert into settlement_request (id, grant_id, merchant_id, actor)
    select ${newId('srq')}, ${grantId.toLowerCase()}, ${merchantId}, ${actor}
    where exists (
      select from channel c where c.grant_id = ${grantId.toLowerCase()} and ${collectible} > c.settled
        and c.signature is not null and (${merchantId}::text is null or c.merchant_id = ${merchantId}))
    on conflict (grant_id, merchant_id) where settlement_id is null
      do update set actor = excluded.actor, created_at = excluded.created_at
    returning id`)
  return rows[0] && { id: rows[0].id }
}
