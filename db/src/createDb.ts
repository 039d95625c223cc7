import { sql } from 'drizzle-orm'
import type { NodePgQueryResultHKT } from 'drizzle-orm/node-postgres'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { PgDatabase } from 'drizzle-orm/pg-core'
import pg from 'pg'
import { changeContext } from './audit/changeContext.ts'
import { isDatabaseUnavailable } from './errors.ts'

/** The pool, or a transaction of it: what every query of this package takes first. */
export type Queryable = PgDatabase<NodePgQueryResultHKT, Record<string, never>>

export type Db = NodePgDatabase & {
  /** Answers when Postgres does. @throws what the driver says, within the timeouts. */
  ping(): Promise<void>
  /** Waits for running queries, then closes all connections. */
  close(): Promise<void>
}

export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]

export type DbOptions = {
  /** `postgres://user:password@host:port/database` */
  url: string
  /** 10 by default. */
  maxConnections?: number | undefined
  /** How long a query waits for a connection, a new one or one of the pool's. 2,000 by default. */
  connectionTimeoutMs?: number | undefined
  /** Postgres cancels a statement after this; the driver gives up one second later. 10,000 by default. */
  statementTimeoutMs?: number | undefined
  /** An idle connection broke. The pool replaces it; nothing has to be done but to tell. */
  onError(error: Error): void
}

/**
 * A pool whose connections run as the role `stream_service`, which sees every merchant's rows; `withTenant` narrows.
 * Connects at the first query: an unreachable Postgres is an error there, and the next query tries again.
 *
 * @example
 * await migrate({ url })
 * const db = createDb({ url, onError: (error) => log.warn({ error }, 'postgres connection lost') })
 */
export function createDb(options: DbOptions): Db {
  const { url, maxConnections = 10, connectionTimeoutMs = 2_000, statementTimeoutMs = 10_000, onError } = options
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    connectionTimeoutMillis: connectionTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs + 1_000,
    idle_in_transaction_session_timeout: statementTimeoutMs + 1_000,
    keepAlive: true,
    application_name: 'protocolbanks-stream',
    // What was committed survives a kill of the server, whatever its default is: the meter forgets what it has journalled.
    options: '-c role=stream_service -c synchronous_commit=on',
  })
  // Without a listener the error of an idle connection would end the process.
  pool.on('error', onError)
  // Nor may that of one which breaks in a transaction, between two statements: the next statement tells its caller.
  pool.on('connect', (client) => client.on('error', () => {}))
  const db = drizzle(pool)
  return Object.assign(db, {
    // Drizzle's own takes a connection and keeps it for ever when BEGIN fails.
    transaction: (async (run, config) => {
      const client = await pool.connect()
      let broken = false
      try {
        return await drizzle(client).transaction(async (tx) => {
          await nameChange(tx)
          return run(tx)
        }, config)
      } catch (error) {
        broken = isDatabaseUnavailable(error)
        throw error
      } finally {
        client.release(broken)
      }
    }) satisfies Db['transaction'],
    async ping() {
      await db.execute(sql`select 1`)
    },
    async close() {
      await pool.end()
    },
  })
}

/** Says in whose name a request changes something, for the audit. It ends with the transaction. */
async function nameChange(tx: Tx): Promise<void> {
  const context = changeContext()
  if (!context) return
  const { actor, requestId, attempt = '' } = context
  await tx.execute(sql`
    select set_config('stream.actor', ${actor}, true), set_config('stream.request_id', ${requestId}, true),
      set_config('stream.attempt', ${attempt}, true)`)
}
