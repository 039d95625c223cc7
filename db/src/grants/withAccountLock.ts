import type { Address } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Db } from '../createDb.ts'

/**
 * Runs `run` while no other process does so for the same account: what it reads from Postgres and copies elsewhere is
 * then never overtaken by an older copy. Holds one connection until `run` ends, which must be within the statement
 * timeout; `run` takes its own from the pool, so bound how many run at once well below the pool's size.
 */
export function withAccountLock<T>(db: Db, account: Address, run: () => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    await tx.execute(
      sql`select pg_advisory_xact_lock(hashtextextended(${`stream.account ${account.toLowerCase()}`}, 0))`,
    )
    return run()
  })
}
