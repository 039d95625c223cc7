import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { eq, inArray, sql } from 'drizzle-orm'
import type { Db, Queryable } from '../createDb.ts'
import { sentinelCursorTable, sentinelGrantStateTable } from './table.ts'

const cursorName = 'journal'
/** Some 20 kB each: more at once would keep the process from judging while they are written. */
const statesPerStatement = 25

/** What a sentinel remembered of these grants, as it wrote it. */
export async function loadGrantStates(db: Queryable, grantIds: readonly Hex[]): Promise<Map<Hex, string>> {
  if (grantIds.length === 0) return new Map()
  const rows = await db
    .select()
    .from(sentinelGrantStateTable)
    .where(inArray(sentinelGrantStateTable.grantId, [...grantIds]))
  return new Map(rows.map(({ grantId, state }) => [grantId, state]))
}

/** Where a sentinel is: every charge before `journalUntil` is in the states, of later ones those that `position` names. */
export type SentinelCursor = { journalUntil: Date; position: string }

export type GrantStatesToSave = SentinelCursor & {
  states: readonly { grantId: Hex; state: string }[]
  /** Who writes; while it goes on, nobody else does. */
  writer: string
  writerMs: number
  now: Date
}

/** The states together with the cursor, or nothing: false when another sentinel is the writer. */
export function saveGrantStates(db: Db, save: GrantStatesToSave): Promise<boolean> {
  const { states, journalUntil, position, writer, writerMs, now } = save
  const cursor = { journalUntil, position, writer, writerUntil: new Date(now.getTime() + writerMs) }
  return db.transaction(async (tx) => {
    const [row] = await tx
      .insert(sentinelCursorTable)
      .values({ ...cursor, name: cursorName })
      .onConflictDoUpdate({
        target: sentinelCursorTable.name,
        // It is long, and sent once.
        set: { ...cursor, position: sql`excluded.position` },
        setWhere: sql`${sentinelCursorTable.writer} = ${writer} or ${sentinelCursorTable.writerUntil} <= ${now.toISOString()}::timestamptz`,
      })
      .returning({ name: sentinelCursorTable.name })
    if (!row) return false
    for (let start = 0; start < states.length; start += statesPerStatement) {
      await tx
        .insert(sentinelGrantStateTable)
        .values(states.slice(start, start + statesPerStatement).map((state) => ({ ...state, updatedAt: now })))
        .onConflictDoUpdate({
          target: sentinelGrantStateTable.grantId,
          set: { state: sql`excluded.state`, updatedAt: sql`excluded.updated_at` },
        })
    }
    return true
  })
}

/** Undefined before the first time. */
export async function readSentinelCursor(db: Queryable): Promise<SentinelCursor | undefined> {
  const [row] = await db.select().from(sentinelCursorTable).where(eq(sentinelCursorTable.name, cursorName))
  return row && { journalUntil: row.journalUntil, position: row.position }
}

/** What a grant may spend, and has spent by the journal. Base units. */
export type GrantBudget = {
  grantId: Hex
  account: Address
  totalLimit: bigint
  charged: bigint
  /** What its source can pay and does not owe yet. */
  funds: bigint
  /** Whom the account allows to freeze. */
  guardian: Address | null
}

/** Those of the grants that are known. */
export async function readGrantBudgets(db: Queryable, grantIds: readonly Hex[]): Promise<GrantBudget[]> {
  if (grantIds.length === 0) return []
  const { rows } = await db.execute<{
    grant_id: Hex
    account: Address
    total_limit: string
    charged: string
    funds: string
    guardian: Address | null
  }>(sql`
    select g.grant_id, g.account, g.total_limit, a.guardian,
      (select coalesce(sum(c.charged), 0) from channel c where c.grant_id = g.grant_id) as charged,
      coalesce(case g.source when 'reserve' then greatest(a.reserve_balance - a.reserve_withdrawing, 0)
        else least(a.balance, a.allowance) end, 0) as funds
    from "grant" g left join account a on a.account = g.account and a.token = g.token
    where g.grant_id = any(${sql.param(grantIds.map((id) => id.toLowerCase()))}::text[])`)
  return rows.map((row) => ({
    grantId: row.grant_id,
    account: row.account,
    totalLimit: BigInt(row.total_limit),
    charged: BigInt(row.charged),
    funds: BigInt(row.funds),
    guardian: row.guardian,
  }))
}
