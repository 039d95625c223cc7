import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { createDb, type Db } from '../createDb.ts'
import { migrate } from '../migrate.ts'

export type TestDatabase = {
  url: string
  db: Db
  /** A statement as the login user, past row-level security: for what a test has to arrange or look at. */
  query<Row extends object>(text: string, values?: unknown[]): Promise<Row[]>
  /** Closes the pool and drops the database. */
  drop(): Promise<void>
}

const patienceMs = 60_000

/**
 * A fresh, migrated database on the tests' Postgres server. One for each test file, so that files can run at once.
 *
 * @example
 * const database = await createTestDatabase(inject('postgresUrl'))
 * afterAll(() => database.drop())
 */
export async function createTestDatabase(
  serverUrl: string,
  options: { upTo?: string | undefined } = {},
): Promise<TestDatabase> {
  const name = `stream_test_${randomBytes(8).toString('hex')}`
  await onServer(serverUrl, `CREATE DATABASE ${name} TEMPLATE template0`)
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  await migrate({ url: url.href, upTo: options.upTo })
  const db = createDb({
    url: url.href,
    maxConnections: 8,
    // Nothing is to fail because the machine is busy.
    connectionTimeoutMs: patienceMs,
    statementTimeoutMs: patienceMs,
    onError: ignoreBrokenConnection,
  })
  const login = connectAsLogin(url.href)
  return {
    url: url.href,
    db,
    query: login.query,
    async drop() {
      await Promise.all([db.close(), login.close()])
      await onServer(serverUrl, `DROP DATABASE ${name} WITH (FORCE)`)
    },
  }
}

/** Statements as the login user, past row-level security and privileges, on a database that somebody else made. */
export function connectAsLogin(url: string): Pick<TestDatabase, 'query'> & { close(): Promise<void> } {
  const login = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: patienceMs })
  login.on('error', ignoreBrokenConnection)
  return {
    async query<Row extends object>(text: string, values: unknown[] = []) {
      return (await login.query(text, values)).rows as Row[]
    },
    close: () => login.end(),
  }
}

async function onServer(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: patienceMs })
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}

/** A test that ends connections on purpose sees the failing query. */
function ignoreBrokenConnection(): void {}
