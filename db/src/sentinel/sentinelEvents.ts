import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, lt } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { InvalidCursorError, limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { sentinelEventTable } from './table.ts'

/** What the sentinel saw or did. Append-only. */
export type SentinelEvent = {
  id: bigint
  /** alert, freeze and the like: the sentinel's words. */
  kind: string
  rule: string | null
  account: Address | null
  grantId: Hex | null
  /** Null: about the grant as a whole. */
  merchantId: string | null
  /** JSON: bigints as strings. */
  detail: Record<string, unknown>
  createdAt: Date
}

export async function appendSentinelEvent(
  db: Queryable,
  event: { kind: string; detail: Record<string, unknown> } & Partial<
    Pick<SentinelEvent, 'rule' | 'account' | 'grantId' | 'merchantId'>
  >,
): Promise<bigint> {
  const [row] = await db.insert(sentinelEventTable).values(event).returning({ id: sentinelEventTable.id })
  if (!row) throw new Error('Postgres returned no row for an insert.')
  return row.id
}

/** Newest first. As a tenant: those about them. */
export async function listSentinelEvents(
  db: Queryable,
  filter: PageRequest & { grantId?: Hex | undefined } = {},
): Promise<Page<SentinelEvent>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(sentinelEventTable)
    .where(
      and(
        filter.grantId === undefined ? undefined : eq(sentinelEventTable.grantId, filter.grantId),
        filter.cursor === undefined ? undefined : lt(sentinelEventTable.id, toId(filter.cursor)),
      ),
    )
    .orderBy(desc(sentinelEventTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id.toString())
}

function toId(cursor: string): bigint {
  if (!/^\d{1,18}$/.test(cursor)) throw new InvalidCursorError(cursor)
  return BigInt(cursor)
}
