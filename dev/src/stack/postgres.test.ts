import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { startPostgres } from './postgres.ts'

test('the run provides a PostgreSQL server in which a test may create its own database', async () => {
  const client = new pg.Client({ connectionString: inject('postgresUrl') })
  await client.connect()
  try {
    await client.query('create database made_by_a_test')
    await client.query('drop database made_by_a_test')
    const { rows } = await client.query<{ server_version: string }>('show server_version')
    expect(rows[0]?.server_version).toMatch(/^18\./)
  } finally {
    await client.end()
  }
})

test('stop() ends the server even while a client is connected', async () => {
  const postgres = await startPostgres({ maxConnections: 20 })
  const client = new pg.Client({ connectionString: postgres.url })
  // Two errors come: the server says goodbye, then the connection ends.
  const cutOff = new Promise((resolve) => client.on('error', resolve))
  await client.connect()
  await postgres.stop()
  await cutOff
  const next = new pg.Client({ connectionString: postgres.url })
  await expect(next.connect()).rejects.toThrow('ECONNREFUSED')
})
