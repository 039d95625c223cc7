import type { Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'

/** What a grant was charged so far, by the journal. Base units. */
export type GrantSpent = { grantId: Hex; calls: number; spentAtomic: bigint; largestAtomic: bigint }

/** Those that were never charged are left out. */
export async function spentByGrants(db: Queryable, grantIds: readonly Hex[]): Promise<GrantSpent[]> {
  if (grantIds.length === 0) return []
  const ids = JSON.stringify(grantIds.map((id) => id.toLowerCase()))
  const { rows } = await db.execute<{ grant_id: Hex; calls: number; spent: string; largest: string }>(sql`
    select grant_id, count(*)::integer as calls, sum(amount) as spent, max(amount) as largest from charge
    where grant_id in (select jsonb_array_elements_text(${ids}::jsonb)) group by grant_id`)
  return rows.map(({ grant_id, calls, spent, largest }) => ({
    grantId: grant_id,
    calls,
    spentAtomic: BigInt(spent),
    largestAtomic: BigInt(largest),
  }))
}
