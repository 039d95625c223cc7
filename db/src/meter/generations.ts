import { eq, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { meterProcessTable } from './table.ts'

/** What one partition of the meter counts in. Closed: every process writes what it charged to the journal first. */
export type MeterGeneration = {
  partition: number
  generation: number
  state: 'closed' | 'open'
  /** The run of the store that it was opened on; empty where the store does not tell. */
  storeRun: string
  /** The newest charge of this partition in the journal when the generation before was closed. */
  journalledAt: Date | null
  /** Closed, and every process that lives has acknowledged that: it may be opened. */
  ready: boolean
}

/** A process that was not seen for so long is taken for dead: nobody waits for what it charged. */
export const processTtlMs = 10_000
/** Rows of dead processes are removed after this. */
const forgetSeconds = 3_600
/** How far back the newest charge of a partition is looked for. */
const lookBack = '1 day'

/**
 * Says that this process lives, and up to which generation of each partition its charges are in the journal. Answers all
 * partitions' generations, in their order; those that do not exist yet begin as closed.
 *
 * @param acknowledged of each partition, in order; 0 for none
 */
export async function beatMeterProcess(
  db: Queryable,
  { instance, acknowledged }: { instance: string; acknowledged: readonly number[] },
): Promise<MeterGeneration[]> {
  const list = sql`${sql.param([...acknowledged])}::bigint[]`
  const { rows } = await db.execute<Row>(sql`
    with me as (
      insert into meter_process (instance, acknowledged) values (${instance}, ${list})
      on conflict (instance) do update set acknowledged = excluded.acknowledged, seen_at = now()
    ),
    forgotten as (
      delete from meter_process where seen_at < now() - make_interval(secs => ${forgetSeconds})
    ),
    missing as (
      insert into meter_generation (partition, generation, state, reason)
      select wanted.partition, extract(epoch from now())::bigint, 'closed', 'the first'
      from generate_series(0, ${acknowledged.length - 1}) as wanted (partition)
      where not exists (select 1 from meter_generation known where known.partition = wanted.partition)
      on conflict do nothing
      returning *
    )
    select g.partition, g.generation::text, g.state, g.store_run, round(extract(epoch from g.journalled_at) * 1000)::double precision as journalled_ms,
      g.state = 'closed' and (${list})[g.partition + 1] >= g.generation and not exists (${behind(sql`g.partition`, sql`g.generation`, instance)}) as ready
    from (select * from meter_generation union all select * from missing) g
    order by g.partition`)
  return rows.map((row) => ({
    partition: row.partition,
    generation: Number(row.generation),
    state: row.state,
    storeRun: row.store_run,
    journalledAt: row.journalled_ms === null ? null : new Date(row.journalled_ms),
    ready: row.ready,
  }))
}

/** Ends a generation, if it is still the newest; the next begins closed. False when somebody else has ended it. */
export async function closeMeterGeneration(
  db: Queryable,
  { partition, generation, reason }: { partition: number; generation: number; reason: string },
): Promise<boolean> {
  const { rowCount } = await db.execute(sql`
    update meter_generation set
      generation = greatest(generation + 1, extract(epoch from now())::bigint), state = 'closed', store_run = '',
      reason = ${reason.slice(0, 500)}, changed_at = now(),
      journalled_at = (
        select max(occurred_at) from charge
        where occurred_at > now() - ${lookBack}::interval and event_id like ${`p${partition}.${generation}-%`}
      )
    where partition = ${partition} and generation = ${generation}`)
  return rowCount === 1
}

/** Opens a closed generation on this run of the store, when every process that lives has acknowledged it. */
export async function openMeterGeneration(
  db: Queryable,
  { partition, generation, storeRun }: { partition: number; generation: number; storeRun: string },
): Promise<boolean> {
  const { rowCount } = await db.execute(sql`
    update meter_generation set state = 'open', store_run = ${storeRun}, changed_at = now()
    where partition = ${partition} and generation = ${generation} and state = 'closed'
      and not exists (${behind(sql`partition`, sql`generation`, '')})`)
  return rowCount === 1
}

/** Of these processes the ones that live. */
export async function listLivingProcesses(db: Queryable, instances: readonly string[]): Promise<Set<string>> {
  if (instances.length === 0) return new Set()
  const { rows } = await db.execute<{ instance: string }>(sql`
    select instance from meter_process
    where instance = any(${sql.param([...instances])}::text[])
      and seen_at > now() - make_interval(secs => ${processTtlMs / 1_000})`)
  return new Set(rows.map(({ instance }) => instance))
}

/** The process ends and everything that it charged is in the journal or the meter: nobody has to wait for it. */
export async function removeMeterProcess(db: Queryable, instance: string): Promise<void> {
  await db.delete(meterProcessTable).where(eq(meterProcessTable.instance, instance))
}

type Row = {
  partition: number
  generation: string
  state: 'closed' | 'open'
  store_run: string
  journalled_ms: number | null
  ready: boolean
}

/** Processes that live and have not acknowledged the generation, but for one whose answer is known. */
function behind(partition: ReturnType<typeof sql>, generation: ReturnType<typeof sql>, except: string) {
  return sql`
    select 1 from meter_process other
    where other.instance <> ${except} and other.seen_at > now() - make_interval(secs => ${processTtlMs / 1_000})
      and other.acknowledged[${partition} + 1] < ${generation}`
}
