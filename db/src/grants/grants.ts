import { type Address, type GrantTerms, type Hex, packTerms } from '@protocolbanks/stream-protocol'
import { and, eq, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { decodeCursor, encodeCursor, limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import type { Grant } from './grant.ts'
import { selectGrants } from './selectGrants.ts'
import { grantTable } from './table.ts'

/**
 * Remembers a grant that the API was told of before the indexer saw it, so that it is found by its id. It cannot be
 * charged until the chain confirms it. False when the grant is known already; nothing changes then.
 */
export async function registerPendingGrant(
  db: Queryable,
  grant: { grantId: Hex; account: Address; epoch: bigint; terms: GrantTerms },
): Promise<boolean> {
  const { grantId, account, epoch, terms } = grant
  const rows = await db
    .insert(grantTable)
    .values({ ...terms, grantId, account, epoch, packedTerms: packTerms(terms), status: 'pending' })
    .onConflictDoNothing()
    .returning({ grantId: grantTable.grantId })
  return rows.length === 1
}

/** As a tenant: undefined too when no channel of theirs uses the grant. */
export async function getGrant(db: Queryable, grantId: Hex): Promise<Grant | undefined> {
  const [grant] = await selectGrants(db, eq(grantTable.grantId, grantId), 1)
  return grant
}

/** Newest first. As a tenant: the grants they have a channel for. */
export async function listGrants(
  db: Queryable,
  filter: PageRequest & { sessionKey?: Address | undefined; account?: Address | undefined } = {},
): Promise<Page<Grant>> {
  const limit = limitOf(filter)
  const rows = await selectGrants(
    db,
    and(
      filter.sessionKey === undefined ? undefined : eq(grantTable.sessionKey, filter.sessionKey),
      filter.account === undefined ? undefined : eq(grantTable.account, filter.account),
      filter.cursor === undefined ? undefined : before(filter.cursor),
    ),
    limit + 1,
  )
  return toPage(rows, limit, (last) => encodeCursor({ at: last.createdAt, key: last.grantId }))
}

function before(cursor: string): SQL {
  const { at, key } = decodeCursor(cursor)
  return sql`(${grantTable.createdAt}, ${grantTable.grantId}) < (${at.toISOString()}::timestamptz, ${key})`
}
