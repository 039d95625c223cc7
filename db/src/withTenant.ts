import { sql } from 'drizzle-orm'
import type { Db, Tx } from './createDb.ts'

/**
 * Runs `run` in a transaction that sees and touches only this merchant's rows: Postgres enforces it by row-level
 * security, whatever the queries say. Everything a merchant's API key asks for goes through here.
 */
export function withTenant<T>(db: Db, merchantId: string, run: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    // Both end with the transaction, so a pooled connection never carries them on.
    await tx.execute(
      sql`select set_config('role', 'stream_tenant', true), set_config('stream.merchant_id', ${merchantId}, true)`,
    )
    return run(tx)
  })
}
