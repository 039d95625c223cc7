import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Charge } from '../journal/journal.ts'

/** Dead ones and those that did not pay it, before the one that did. */
const maxSettlements = 5

/**
 * Ids of the settlements that claimed a charge, oldest first, up to the one that was confirmed. A channel's charges are
 * paid in their order: the charge is part of every claim that reaches the sum up to it.
 */
export async function settlementsOfCharge(
  db: Queryable,
  { grantId, payee, occurredAt, eventId }: Pick<Charge, 'grantId' | 'payee' | 'occurredAt' | 'eventId'>,
): Promise<string[]> {
  const { rows } = await db.execute<{ id: string; state: string }>(sql`
    select s.id, s.state
    from settlement s join settlement_item i on i.settlement_id = s.id
    where s.grant_id = ${grantId.toLowerCase()} and i.payee = ${payee.toLowerCase()}
      and i.amount >= (
        select sum(c.amount) from charge c
        where c.grant_id = ${grantId.toLowerCase()} and c.payee = ${payee.toLowerCase()}
          and (c.occurred_at, c.event_id) <= (${occurredAt.toISOString()}::timestamptz, ${eventId})
      )
    order by s.created_at, s.id
    limit ${maxSettlements}`)
  const paid = rows.findIndex(({ state }) => state === 'confirmed')
  return rows.slice(0, paid < 0 ? rows.length : paid + 1).map(({ id }) => id)
}
