import { createServer, type Server } from 'node:net'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createDb } from './createDb.ts'
import { isDatabaseUnavailable } from './errors.ts'
import { createTestDatabase, type TestDatabase } from './testing/createTestDatabase.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

test('every query of the pool runs as stream_service, so that row-level security holds for a superuser too', async () => {
  const { rows } = await database.db.execute(sql`select current_user::text as role`)
  expect(rows).toEqual([{ role: 'stream_service' }])
})

test('connections that Postgres ends are told, do not end the process, and the next query works', async () => {
  const broken: Error[] = []
  const db = createDb({ url: database.url, onError: (error) => broken.push(error) })
  try {
    await db.ping()
    await database.query(
      `select pg_terminate_backend(pid, 30000) from pg_stat_activity
       where datname = current_database() and application_name = 'protocolbanks-stream' and pid <> pg_backend_pid()`,
    )
    await expect.poll(() => broken.length).toBeGreaterThan(0)
    expect(isDatabaseUnavailable(broken[0])).toBe(true)
    await db.ping()
  } finally {
    await db.close()
  }
})

test('an unreachable Postgres is an error at once, and is told apart from a wrong query', async () => {
  const { server, url } = await listen()
  await new Promise((resolve) => server.close(resolve))
  const db = createDb({ url, onError: () => {} })
  const error = await db.ping().catch((reason: unknown) => reason)
  expect(isDatabaseUnavailable(error)).toBe(true)
  await db.close()

  const wrong = await database.db.execute(sql`select from no_such_table`).catch((reason: unknown) => reason)
  expect(wrong).toBeInstanceOf(Error)
  expect(isDatabaseUnavailable(wrong)).toBe(false)
})

test('a Postgres that accepts and never answers is given up after two seconds', async () => {
  const { server, url } = await listen()
  const db = createDb({ url, onError: () => {} })
  const started = Date.now()
  const error = await db.ping().catch((reason: unknown) => reason)
  expect(isDatabaseUnavailable(error)).toBe(true)
  // Of a machine that is busy; without a bound it would wait for ever.
  expect(Date.now() - started).toBeLessThan(30_000)
  await db.close()
  server.close()
})

test('a statement that takes too long is cancelled', async () => {
  const db = createDb({ url: database.url, statementTimeoutMs: 1_000, onError: () => {} })
  const error = await db.execute(sql`select pg_sleep(60)`).catch((reason: unknown) => reason)
  expect(isDatabaseUnavailable(error)).toBe(true)
  await db.ping()
  await db.close()
})

async function listen(): Promise<{ server: Server; url: string }> {
  const sockets = new Set<{ destroy(): void }>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.on('close', () => {
    for (const socket of sockets) socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { server, url: `postgres://nobody@127.0.0.1:${address.port}/nothing` }
}

test('a connection that breaks in a transaction, between two statements, is an error of the next statement alone', async () => {
  const db = createDb({ url: database.url, maxConnections: 1, onError: () => {} })
  const transaction = db.transaction(async (tx) => {
    const { rows } = await tx.execute<{ pid: number }>(sql`select pg_backend_pid() as pid`)
    await database.query(`select pg_terminate_backend(${rows[0]?.pid}, 30000)`)
    // What the server said has arrived by now, while nothing was asked.
    await new Promise((resolve) => setTimeout(resolve, 200))
    await tx.execute(sql`select 1`)
  })
  await expect(transaction).rejects.toThrow()
  await db.ping()
  await db.close()
})

test('what is committed is on disk before anybody is told, whatever the server does by default', async () => {
  await database.query(`alter database ${new URL(database.url).pathname.slice(1)} set synchronous_commit = off`)
  const db = createDb({ url: database.url, onError: () => {} })
  const { rows } = await db.execute(sql`show synchronous_commit`)
  expect(rows).toEqual([{ synchronous_commit: 'on' }])
  await db.close()
})

test('a transaction that cannot begin gives its connection back', async () => {
  const db = createDb({ url: database.url, maxConnections: 1, onError: () => {} })
  // As when Postgres is gone at that moment: the first statement fails.
  const nonsense = { isolationLevel: 'nonsense' as 'serializable' }
  for (let time = 0; time < 3; time++) {
    await expect(db.transaction(async () => 'begun', nonsense)).rejects.toThrow()
  }
  expect(await db.transaction(async () => 'begun')).toBe('begun')
  await db.close()
})
