import { createHash, randomBytes } from 'node:crypto'
import { and, desc, eq, isNull, lt, or, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { apiKeyTable } from './table.ts'

/** What is kept of an API key. The key itself is shown once, when it is issued. */
export type ApiKey = {
  id: string
  /** Null: a key of the operator, for every merchant. */
  merchantId: string | null
  name: string
  /** The first characters of the key, to tell keys apart. */
  prefix: string
  createdAt: Date
  revokedAt: Date | null
  /** To the minute. */
  lastUsedAt: Date | null
}

const visibleColumns = {
  id: apiKeyTable.id,
  merchantId: apiKeyTable.merchantId,
  name: apiKeyTable.name,
  prefix: apiKeyTable.prefix,
  createdAt: apiKeyTable.createdAt,
  revokedAt: apiKeyTable.revokedAt,
  lastUsedAt: apiKeyTable.lastUsedAt,
}

/** A new key with 256 random bits. `key` cannot be had again. */
export async function issueApiKey(
  db: Queryable,
  { merchantId, name }: { merchantId: string | null; name: string },
): Promise<{ id: string; key: string }> {
  const key = `pb_${randomBytes(32).toString('base64url')}`
  const id = newId('key')
  await db.insert(apiKeyTable).values({ id, merchantId, name, prefix: key.slice(0, 11), hash: hashOf(key) })
  return { id, key }
}

/** Whose key this is; undefined when there is no such key or it was revoked. */
export async function authenticateApiKey(
  db: Queryable,
  key: string,
): Promise<{ apiKeyId: string; merchantId: string | null } | undefined> {
  if (!/^pb_[A-Za-z0-9_-]{43}$/.test(key)) return undefined
  const [found] = await db
    .select({ apiKeyId: apiKeyTable.id, merchantId: apiKeyTable.merchantId })
    .from(apiKeyTable)
    .where(and(eq(apiKeyTable.hash, hashOf(key)), isNull(apiKeyTable.revokedAt)))
  if (!found) return undefined
  // At most one write a minute and key.
  await db
    .update(apiKeyTable)
    .set({ lastUsedAt: sql`now()` })
    .where(
      and(
        eq(apiKeyTable.id, found.apiKeyId),
        or(isNull(apiKeyTable.lastUsedAt), lt(apiKeyTable.lastUsedAt, sql`now() - interval '1 minute'`)),
      ),
    )
  return found
}

/** As a tenant: their own. As the service: all, the operator's included. */
export async function listApiKeys(db: Queryable, page: PageRequest = {}): Promise<Page<ApiKey>> {
  const limit = limitOf(page)
  const rows = await db
    .select(visibleColumns)
    .from(apiKeyTable)
    .where(page.cursor === undefined ? undefined : lt(apiKeyTable.id, page.cursor))
    .orderBy(desc(apiKeyTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

/** False when there is no such key, or it was revoked before. */
export async function revokeApiKey(db: Queryable, id: string): Promise<boolean> {
  const rows = await db
    .update(apiKeyTable)
    .set({ revokedAt: sql`now()` })
    .where(and(eq(apiKeyTable.id, id), isNull(apiKeyTable.revokedAt)))
    .returning({ id: apiKeyTable.id })
  return rows.length === 1
}

function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}
