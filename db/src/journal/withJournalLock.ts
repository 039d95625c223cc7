import { sql } from 'drizzle-orm'
import type { Db, Tx } from '../createDb.ts'

/**
 * Runs `run` in a transaction while nobody else appends to the journal of this partition of the meter: what it reads of
 * the partition's channels and charges stays true until it has written.
 */
export function withJournalLock<T>(db: Db, partition: number, run: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    await tx.execute(sql`select pg_advisory_xact_lock(${keyOf(partition)})`)
    return run(tx)
  })
}

/** The same, or undefined at once when somebody else is at it. */
export function tryJournalLock<T>(db: Db, partition: number, run: (tx: Tx) => Promise<T>): Promise<T | undefined> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.execute<{ locked: boolean }>(
      sql`select pg_try_advisory_xact_lock(${keyOf(partition)}) as locked`,
    )
    return rows[0]?.locked ? run(tx) : undefined
  })
}

function keyOf(partition: number) {
  return sql`hashtextextended(${`stream.journal ${partition}`}, 0)`
}
