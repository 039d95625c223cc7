import type { connectAsLogin } from '@protocolbanks/stream-db/testing'

/** What services write while nobody asks them for anything: how far they have looked, and that they live. */
const busyTables = ['audit_entry', 'indexer_cursor', 'indexed_block', 'meter_process']
/** Of tables that change otherwise only when somebody is served. */
const busyColumns: Record<string, readonly string[]> = { api_key: ['last_used_at'] }

/**
 * A checksum over every row of every table, by name; of all but what services write by themselves and the audit. Equal
 * before and after: nothing was changed.
 */
export async function tableChecksums({
  query,
}: Pick<ReturnType<typeof connectAsLogin>, 'query'>): Promise<Record<string, string>> {
  const tables = await query<{ name: string }>(
    `select relname as name from pg_class
     where relnamespace = 'public'::regnamespace and relkind = 'r' and not relname = any($1) order by 1`,
    [busyTables],
  )
  const sums: Record<string, string> = {}
  for (const { name } of tables) {
    const row = `to_jsonb(t) - $1::text[]`
    const [sum] = await query<{ checksum: string }>(
      `select count(*) || ' ' || coalesce(md5(string_agg(md5((${row})::text), '' order by md5((${row})::text))), '') as checksum
       from "${name}" t`,
      [busyColumns[name] ?? []],
    )
    sums[name] = sum?.checksum ?? ''
  }
  return sums
}
