import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, gte, inArray, lt, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Charge } from '../journal/journal.ts'
import { chargeTable } from '../journal/table.ts'

/** Which grants' charges: of an account, of all grants that a merchant has a channel for, of these grants. */
export type DryRunSelection = {
  account?: Address | undefined
  merchantId?: string | undefined
  grantIds?: readonly Hex[] | undefined
}

/** Charges of [from, until) of these grants, oldest first, at most `limit`; `after` the last one to go on. */
export function listChargesForDryRun(
  db: Queryable,
  {
    from,
    until,
    after,
    limit,
    ...selection
  }: DryRunSelection & { from: Date; until: Date; after?: { at: Date; eventId: string } | undefined; limit: number },
): Promise<Charge[]> {
  return db
    .select()
    .from(chargeTable)
    .where(
      and(
        isSelected(selection),
        gte(chargeTable.occurredAt, after?.at ?? from),
        lt(chargeTable.occurredAt, until),
        after &&
          sql`(${chargeTable.occurredAt}, ${chargeTable.eventId}) > (${after.at.toISOString()}::timestamptz, ${after.eventId})`,
      ),
    )
    .orderBy(asc(chargeTable.occurredAt), asc(chargeTable.eventId))
    .limit(limit)
}

/** How many there are, counted up to `most`. */
export async function countChargesForDryRun(
  db: Queryable,
  { from, until, most, ...selection }: DryRunSelection & { from: Date; until: Date; most: number },
): Promise<number> {
  const some = db
    .select({ eventId: chargeTable.eventId })
    .from(chargeTable)
    .where(and(isSelected(selection), gte(chargeTable.occurredAt, from), lt(chargeTable.occurredAt, until)))
    .limit(most)
    .as('some')
  const [row] = await db.select({ count: sql<string>`count(*)` }).from(some)
  return Number(row?.count ?? 0)
}

/** What these grants were charged since a moment, by the journal; those without a charge are left out. Base units. */
export async function readSpentSince(
  db: Queryable,
  { grantIds, since }: { grantIds: readonly Hex[]; since: Date },
): Promise<Map<Hex, bigint>> {
  if (grantIds.length === 0) return new Map()
  const rows = await db
    .select({ grantId: chargeTable.grantId, spent: sql<string>`sum(${chargeTable.amount})` })
    .from(chargeTable)
    .where(and(inArray(chargeTable.grantId, [...grantIds]), gte(chargeTable.occurredAt, since)))
    .groupBy(chargeTable.grantId)
  return new Map(rows.map(({ grantId, spent }) => [grantId, BigInt(spent)]))
}

function isSelected({ account, merchantId, grantIds }: DryRunSelection): SQL | undefined {
  return and(
    account === undefined ? undefined : eq(chargeTable.account, account),
    merchantId === undefined
      ? undefined
      : sql`${chargeTable.grantId} in (select grant_id from channel where merchant_id = ${merchantId})`,
    grantIds === undefined ? undefined : inArray(chargeTable.grantId, [...grantIds]),
  )
}
