import { createHash, randomBytes } from 'node:crypto'
import type { Address } from '@protocolbanks/stream-protocol'
import { and, desc, eq, gt, inArray, isNull, lt } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Db, Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { ownerActor } from './ownerActor.ts'
import { ownerSessionTable } from './table.ts'

/** That the owner of an account signed in. The token itself is shown once, and not stored. */
export type OwnerSession = {
  /** `ows_` and a sortable id. */
  id: string
  account: Address
  expiresAt: Date
}

/** An account has no more open ones: the oldest ends when another begins. */
export const maxOwnerSessions = 20

const tokenPattern = /^pbo_[A-Za-z0-9_-]{43}$/

/**
 * A new session with a token of 256 random bits, and its audit entry, in one transaction. Undefined when the nonce has
 * signed somebody in before.
 */
export function openOwnerSession(
  db: Db,
  { account, nonce, now, expiresAt }: { account: Address; nonce: string; now: Date; expiresAt: Date },
): Promise<(OwnerSession & { token: string }) | undefined> {
  const token = `pbo_${randomBytes(32).toString('base64url')}`
  return db.transaction(async (tx) => {
    const id = newId('ows')
    const made = await tx
      .insert(ownerSessionTable)
      .values({ id, account, hash: hashOf(token), nonce, createdAt: now, expiresAt })
      .onConflictDoNothing({ target: ownerSessionTable.nonce })
      .returning({ id: ownerSessionTable.id })
    if (made.length === 0) return undefined
    const tooMany = tx
      .select({ id: ownerSessionTable.id })
      .from(ownerSessionTable)
      .where(and(eq(ownerSessionTable.account, account), isOpen(now)))
      .orderBy(desc(ownerSessionTable.id))
      .offset(maxOwnerSessions)
    await tx.update(ownerSessionTable).set({ endedAt: now }).where(inArray(ownerSessionTable.id, tooMany))
    const after = { expiresAt: expiresAt.toISOString() }
    const entry = { actor: ownerActor(account), action: 'owner_sign_in', subject: id, note: null, before: null, after }
    await appendAudit(tx, entry)
    return { id, account, expiresAt, token }
  })
}

/** Whose session this token is; undefined when there is none, or it has ended. */
export async function authenticateOwner(db: Queryable, token: string, now: Date): Promise<OwnerSession | undefined> {
  if (!tokenPattern.test(token)) return undefined
  const { id, account, expiresAt } = ownerSessionTable
  const [session] = await db
    .select({ id, account, expiresAt })
    .from(ownerSessionTable)
    .where(and(eq(ownerSessionTable.hash, hashOf(token)), isOpen(now)))
  return session
}

/** With an audit entry. False when it had ended before. */
export async function endOwnerSession(db: Queryable, id: string, now: Date): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [ended] = await tx
      .update(ownerSessionTable)
      .set({ endedAt: now })
      .where(and(eq(ownerSessionTable.id, id), isOpen(now)))
      .returning({ account: ownerSessionTable.account })
    if (!ended) return false
    const after = { endedAt: now.toISOString() }
    const entry = { actor: ownerActor(ended.account), action: 'owner_sign_out', subject: id, note: null }
    await appendAudit(tx, { ...entry, before: null, after })
    return true
  })
}

/** A nonce is refused by its own age long before its session is forgotten. */
const keptMs = 86_400_000

/** Forgets sessions that expired a day ago, at most `limit`. Says how many. */
export async function pruneOwnerSessions(db: Queryable, { now, limit }: { now: Date; limit: number }): Promise<number> {
  const old = db
    .select({ id: ownerSessionTable.id })
    .from(ownerSessionTable)
    .where(lt(ownerSessionTable.expiresAt, new Date(now.getTime() - keptMs)))
    .limit(limit)
  const rows = await db
    .delete(ownerSessionTable)
    .where(inArray(ownerSessionTable.id, old))
    .returning({ id: ownerSessionTable.id })
  return rows.length
}

function isOpen(now: Date) {
  return and(isNull(ownerSessionTable.endedAt), gt(ownerSessionTable.expiresAt, now))
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
