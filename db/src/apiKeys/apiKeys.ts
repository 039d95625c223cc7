import { createHash, randomBytes } from 'node:crypto'
import { and, desc, eq, gt, isNull, lt, or, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { allScopes } from './scopes.ts'
import { apiKeyTable } from './table.ts'

/** What is kept of an API key. The key itself is shown once, when it is issued. */
export type ApiKey = {
  id: string
  /** Null: a key of the operator, for every merchant. */
  merchantId: string | null
  name: string
  /** The first characters of the key, to tell keys apart. */
  prefix: string
  /** What it may do; `*` is everything that its holder may do. */
  scopes: string[]
  createdAt: Date
  /** Null: it does not end. */
  expiresAt: Date | null
  revokedAt: Date | null
  /** To the minute. */
  lastUsedAt: Date | null
  rotatedAt: Date | null
  /** The first characters of the key before the last rotation, and until when that is good; null: there was none. */
  previousPrefix: string | null
  previousUntil: Date | null
}

const visibleColumns = {
  id: apiKeyTable.id,
  merchantId: apiKeyTable.merchantId,
  name: apiKeyTable.name,
  prefix: apiKeyTable.prefix,
  scopes: apiKeyTable.scopes,
  createdAt: apiKeyTable.createdAt,
  expiresAt: apiKeyTable.expiresAt,
  revokedAt: apiKeyTable.revokedAt,
  lastUsedAt: apiKeyTable.lastUsedAt,
  rotatedAt: apiKeyTable.rotatedAt,
  previousPrefix: apiKeyTable.previousPrefix,
  previousUntil: apiKeyTable.previousUntil,
}

/** The old key of a rotation is good for this long at most, in seconds. */
export const maxOverlapSeconds = 86_400

/** A new key with 256 random bits. `key` cannot be had again. */
export async function issueApiKey(
  db: Queryable,
  of: {
    merchantId: string | null
    name: string
    /** Everything by default. */
    scopes?: readonly string[] | undefined
    /** It does not end by default. */
    expiresAt?: Date | null | undefined
  },
): Promise<{ id: string; key: string }> {
  const { merchantId, name, scopes = [allScopes], expiresAt = null } = of
  const secret = newSecret()
  const id = newId('key')
  const { prefix, hash } = secret
  await db.insert(apiKeyTable).values({ id, merchantId, name, prefix, hash, scopes: [...scopes], expiresAt })
  return { id, key: secret.key }
}

/** Whose key a secret is, and what it may do. */
export type KnownApiKey = {
  apiKeyId: string
  merchantId: string | null
  scopes: string[]
  expiresAt: Date | null
}

/**
 * Whose key this is; undefined when there is no such key, or it was revoked, has ended, or was changed for another longer ago
 * than its overlap.
 */
export async function authenticateApiKey(db: Queryable, key: string): Promise<KnownApiKey | undefined> {
  if (!/^pb_[A-Za-z0-9_-]{43}$/.test(key)) return undefined
  const hash = hashOf(key)
  const [found] = await db
    .select({
      apiKeyId: apiKeyTable.id,
      merchantId: apiKeyTable.merchantId,
      scopes: apiKeyTable.scopes,
      expiresAt: apiKeyTable.expiresAt,
    })
    .from(apiKeyTable)
    .where(
      and(
        or(
          eq(apiKeyTable.hash, hash),
          and(eq(apiKeyTable.previousHash, hash), gt(apiKeyTable.previousUntil, sql`now()`)),
        ),
        isUsable,
      ),
    )
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

/** A key that can be used, locked until the transaction ends, so that nothing of it changes between look and change. */
export async function lockApiKey(db: Queryable, id: string): Promise<ApiKey | undefined> {
  const [found] = await db
    .select(visibleColumns)
    .from(apiKeyTable)
    .where(and(eq(apiKeyTable.id, id), isUsable))
    .for('update')
  return found
}

/**
 * Gives a key a new secret. The one before is good for `overlapSeconds` more; one that was still good from an earlier rotation
 * is not any more. Undefined when there is no such key that can be used.
 *
 * @param overlapSeconds 0 to `maxOverlapSeconds`
 */
export async function rotateApiKey(
  db: Queryable,
  id: string,
  overlapSeconds: number,
): Promise<(ApiKey & { key: string }) | undefined> {
  if (!(overlapSeconds >= 0 && overlapSeconds <= maxOverlapSeconds)) throw new RangeError(`overlap ${overlapSeconds} s`)
  const { key, prefix, hash } = newSecret()
  const [rotated] = await db
    .update(apiKeyTable)
    .set({
      prefix,
      hash,
      rotatedAt: sql`now()`,
      // Of the row as it was.
      previousHash: sql`${apiKeyTable.hash}`,
      previousPrefix: sql`${apiKeyTable.prefix}`,
      previousUntil: sql`now() + make_interval(secs => ${overlapSeconds})`,
    })
    .where(and(eq(apiKeyTable.id, id), isUsable))
    .returning(visibleColumns)
  return rotated && { ...rotated, key }
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

const isUsable = and(
  isNull(apiKeyTable.revokedAt),
  or(isNull(apiKeyTable.expiresAt), gt(apiKeyTable.expiresAt, sql`now()`)),
)

function newSecret(): { key: string; prefix: string; hash: string } {
  const key = `pb_${randomBytes(32).toString('base64url')}`
  return { key, prefix: key.slice(0, 11), hash: hashOf(key) }
}

function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}
