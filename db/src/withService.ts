import type { Db, Tx } from './createDb.ts'

/** One transaction over several queries, as `stream_service` like every plain query of the pool. */
export function withService<T>(db: Db, run: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction(run)
}
