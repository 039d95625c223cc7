import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { BaseError } from '@protocolbanks/stream-protocol'
import pg from 'pg'

export type MigrateOptions = {
  /** A login that owns the database's objects and may create roles (or finds both roles there). */
  url: string
  /** Stop after this migration, by its name without `.sql`. For tests of upgrades. */
  upTo?: string | undefined
}

const folder = new URL('../migrations/', import.meta.url)
const lockTimeoutMs = 60_000

/**
 * Brings the database to the newest version. Several services may call it at once: one does it, the others wait (at
 * most 60 s) and find it done. Each file runs in its own transaction and is recorded with its hash. Afterwards there is
 * a partition for the journal's this and next month.
 *
 * @returns names of the migrations that ran now
 * @throws MigrationChangedError when a file differs from what was run; MigrationFailedError
 */
export async function migrate({ url, upTo }: MigrateOptions): Promise<string[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000, keepAlive: true })
  // An error outside of a query also rejects the query that runs or comes next.
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query(`SET lock_timeout = ${lockTimeoutMs}`)
    await client.query(`SELECT pg_advisory_lock(hashtext('stream.migrate'))`)
    const applied = await run(client, await readMigrations(upTo))
    await client.query(`SELECT ensure_charge_partition(now()), ensure_charge_partition(now() + interval '1 month')`)
    return applied
  } finally {
    // The lock ends with the connection.
    await client.end()
  }
}

type Migration = { name: string; text: string; sha256: string }

async function readMigrations(upTo: string | undefined): Promise<Migration[]> {
  const names = (await readdir(folder))
    .filter((file) => file.endsWith('.sql'))
    .map((file) => file.slice(0, -'.sql'.length))
    .sort()
  if (upTo !== undefined && !names.includes(upTo)) throw new UnknownMigrationError(upTo, names)
  const wanted = upTo === undefined ? names : names.slice(0, names.indexOf(upTo) + 1)
  return Promise.all(
    wanted.map(async (name) => {
      const text = await readFile(new URL(`${name}.sql`, folder), 'utf8')
      return { name, text, sha256: createHash('sha256').update(text).digest('hex') }
    }),
  )
}

async function run(client: pg.Client, migrations: Migration[]): Promise<string[]> {
  await client.query(
    `CREATE TABLE IF NOT EXISTS stream_migration (
       name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
  )
  const { rows } = await client.query<{ name: string; sha256: string }>('SELECT name, sha256 FROM stream_migration')
  const recorded = new Map(rows.map((row) => [row.name, row.sha256]))
  const applied: string[] = []
  for (const { name, text, sha256 } of migrations) {
    const before = recorded.get(name)
    if (before !== undefined) {
      if (before !== sha256) throw new MigrationChangedError(name, before, sha256)
      continue
    }
    await client.query('BEGIN')
    try {
      await client.query(text)
      await client.query('INSERT INTO stream_migration (name, sha256) VALUES ($1, $2)', [name, sha256])
      await client.query('COMMIT')
    } catch (error) {
      await client.query('ROLLBACK')
      throw new MigrationFailedError(name, error)
    }
    applied.push(name)
  }
  return applied
}

export class MigrationFailedError extends BaseError {
  override readonly code = 'migration.failed'
  constructor(name: string, cause: unknown) {
    super(`The migration ${name} failed; nothing of it was kept.`, {
      cause,
      metaMessages: [cause instanceof Error ? cause.message : String(cause), 'Remove the cause and start again.'],
      docsPath: '/errors#migration-failed',
    })
  }
}

export class MigrationChangedError extends BaseError {
  override readonly code = 'migration.changed'
  constructor(name: string, recorded: string, found: string) {
    super(`The migration ${name} is not the one this database was migrated with.`, {
      metaMessages: [
        `Recorded SHA-256: ${recorded}`,
        `Found SHA-256: ${found}`,
        'Restore the file and put the change into a new migration.',
      ],
      docsPath: '/errors#migration-changed',
    })
  }
}

export class UnknownMigrationError extends BaseError {
  override readonly code = 'migration.unknown'
  constructor(name: string, names: string[]) {
    super(`There is no migration ${name}.`, {
      metaMessages: [`There are: ${names.join(', ')}`],
      docsPath: '/errors#migration-unknown',
    })
  }
}
