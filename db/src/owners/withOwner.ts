import type { Address } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Db, Tx } from '../createDb.ts'

/**
 * Runs `run` in a transaction that sees and touches only this account's rows: Postgres enforces it by row-level
 * security, whatever the queries say. Everything an owner's session asks for goes through here.
 */
export function withOwner<T>(db: Db, account: Address, run: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    // Both end with the transaction, so a pooled connection never carries them on.
    await tx.execute(
      sql`select set_config('role', 'stream_owner', true), set_config('stream.account', ${account.toLowerCase()}, true)`,
    )
    return run(tx)
  })
}
