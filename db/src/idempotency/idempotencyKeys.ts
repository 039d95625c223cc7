import { and, eq, inArray, isNull, lt, sql } from 'drizzle-orm'
import type { Db, Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { idempotencyKeyTable } from './table.ts'

/** How long an answer is given again. */
export const idempotencyKeySeconds = 86_400
/** One caller has no more keys within that time. */
export const maxIdempotencyKeys = 10_000
/** Longer than any request takes: statements are cancelled after 10 s. */
const leaseSeconds = 60
/** Old keys that each new one takes away: there are never more to clean than are made. */
const pruned = 20

export type IdempotentRequest = {
  /** Whose key it is; keys of others are other keys. */
  caller: string
  key: string
  /** SHA-256 of the request, 64 digits of hex. */
  fingerprint: string
}

/** What to do with a request that has a key. */
export type IdempotencyClaim =
  /** Run it, as this attempt. */
  | { kind: 'run'; attempt: string }
  /** It was run. `answer` is as it was kept; null: it was too large. */
  | { kind: 'answered'; status: number; answer: string | null; subject: string | null }
  /** Somebody runs it now. */
  | { kind: 'in_progress' }
  /** The key names another request. */
  | { kind: 'other_request' }
  /** It changed something, and whoever ran it ended before the answer was kept. */
  | { kind: 'answer_lost'; subject: string | null }
  /** The caller has `maxIdempotencyKeys`. */
  | { kind: 'too_many' }

/**
 * Takes a request for this process, or says what became of it. Whoever gets `run` ends it by `endAttempt`; if
 * they cannot, the request is free again when the lease has ended, unless it changed something: a
 * change marks the key in its own transaction, and a change of an attempt that was taken over is refused by the database.
 */
export function claimIdempotencyKey(
  db: Db,
  { caller, key, fingerprint }: IdempotentRequest,
  now: Date,
): Promise<IdempotencyClaim> {
  const attempt = newId('idm')
  const leaseUntil = after(now, leaseSeconds)
  const fresh = { fingerprint, attempt, leaseUntil, expiresAt: after(now, idempotencyKeySeconds), createdAt: now }
  return db.transaction(async (tx): Promise<IdempotencyClaim> => {
    await prune(tx, now)
    const own = and(eq(idempotencyKeyTable.caller, caller), eq(idempotencyKeyTable.key, key))
    const select = () => tx.select().from(idempotencyKeyTable).where(own).for('update')
    let [found] = await select()
    if (!found) {
      if (await isFull(tx, caller)) return { kind: 'too_many' }
      const made = await tx
        .insert(idempotencyKeyTable)
        .values({ caller, key, ...fresh })
        .onConflictDoNothing()
        .returning({ attempt: idempotencyKeyTable.attempt })
      if (made.length === 1)
        return { kind: 'run', attempt }
        // Somebody else made it in this moment.
      ;[found] = await select()
    }
    if (!found) return { kind: 'in_progress' }
    const { status, answer, changedAt, subject } = found
    if (found.expiresAt <= now) {
      const forgotten = { changedAt: null, subject: null, status: null, answer: null }
      await tx
        .update(idempotencyKeyTable)
        .set({ ...fresh, ...forgotten })
        .where(own)
      return { kind: 'run', attempt }
    }
    if (found.fingerprint !== fingerprint) return { kind: 'other_request' }
    if (status !== null) return { kind: 'answered', status, answer, subject }
    if (found.leaseUntil > now) return { kind: 'in_progress' }
    if (changedAt !== null) return { kind: 'answer_lost', subject }
    await tx.update(idempotencyKeyTable).set({ attempt, leaseUntil }).where(own)
    return { kind: 'run', attempt }
  })
}

/**
 * Keeps what an attempt was answered, where it did something: it changed something, or went well. Otherwise the key is
 * free again, so that the same request is run anew. `answer` null: it is too large to be kept.
 */
export async function endAttempt(
  db: Db,
  { attempt, status, answer }: { attempt: string; status: number; answer: string | null },
): Promise<void> {
  await db.transaction(async (tx) => {
    const mine = eq(idempotencyKeyTable.attempt, attempt)
    const isWell = status < 300
    const freed = isWell
      ? []
      : await tx
          .delete(idempotencyKeyTable)
          .where(and(mine, isNull(idempotencyKeyTable.changedAt)))
          .returning({ key: idempotencyKeyTable.key })
    if (freed.length === 0) await tx.update(idempotencyKeyTable).set({ status, answer }).where(mine)
  })
}

async function isFull(tx: Queryable, caller: string): Promise<boolean> {
  const { rows } = await tx.execute<{ full: boolean }>(sql`
    select count(*) >= ${maxIdempotencyKeys} as full from (
      select from idempotency_key where caller = ${caller} limit ${maxIdempotencyKeys}
    ) as kept`)
  return rows[0]?.full === true
}

/** Those whose time is over. One that is being looked at stays for the next. */
async function prune(tx: Queryable, now: Date): Promise<void> {
  const over = tx
    .select({ attempt: idempotencyKeyTable.attempt })
    .from(idempotencyKeyTable)
    .where(and(lt(idempotencyKeyTable.expiresAt, now), lt(idempotencyKeyTable.leaseUntil, now)))
    .orderBy(idempotencyKeyTable.expiresAt)
    .limit(pruned)
    .for('update', { skipLocked: true })
  await tx.delete(idempotencyKeyTable).where(inArray(idempotencyKeyTable.attempt, over))
}

function after(now: Date, seconds: number): Date {
  return new Date(now.getTime() + seconds * 1_000)
}
