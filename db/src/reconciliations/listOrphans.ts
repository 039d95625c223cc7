import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'

/** Money without a channel's row: its vouchers are lost, and nobody settles it. Base units. */
export type Orphan = {
  grantId: Hex
  payee: Address
  /** What the journal has of it. */
  journal: bigint
  /** What the mirrored events of a known grant say was paid. */
  events: bigint
}

/** Grants and payees that the journal or the chain's events have and `channel` has not. At most `limit` of each. */
export async function listOrphans(
  db: Queryable,
  { grantId, limit }: { grantId?: Hex | undefined; limit: number },
): Promise<Orphan[]> {
  const only = grantId === undefined ? sql`true` : sql`grant_id = ${grantId.toLowerCase()}`
  // Steps from one key of the journal to the next by its index, instead of reading every charge.
  const { rows } = await db.execute<{ grant_id: Hex; payee: string; journal: string; events: string }>(sql`
    with recursive journalled as (
      (select grant_id, payee from charge where ${only} order by grant_id, payee limit 1)
      union all
      select next.grant_id, next.payee from journalled k cross join lateral (
        select grant_id, payee from charge
        where (grant_id, payee) > (k.grant_id, k.payee) and ${only}
        order by grant_id, payee limit 1
      ) next
    ),
    lost as (
      (select grant_id, payee from journalled k
        where not exists (select from channel c where c.grant_id = k.grant_id and c.payee = k.payee) limit ${limit})
      union
      (select e.grant_id, e.payee from chain_event e
        where e.name = 'Settled' and ${grantId === undefined ? sql`true` : sql`e.grant_id = ${grantId.toLowerCase()}`}
          and exists (select from "grant" g where g.grant_id = e.grant_id)
          and not exists (select from channel c where c.grant_id = e.grant_id and c.payee = e.payee) limit ${limit})
    )
    select l.grant_id, l.payee,
      (select coalesce(sum(j.amount), 0) from charge j where j.grant_id = l.grant_id and j.payee = l.payee) as journal,
      (select coalesce(sum((e.data ->> 'paid')::numeric), 0) from chain_event e
        where e.grant_id = l.grant_id and e.payee = l.payee and e.name = 'Settled') as events
    from lost l order by l.grant_id, l.payee`)
  return rows.map((row) => ({
    grantId: row.grant_id,
    payee: getAddress(row.payee),
    journal: BigInt(row.journal),
    events: BigInt(row.events),
  }))
}
