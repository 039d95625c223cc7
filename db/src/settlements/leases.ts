import type { Address, GrantSource, Hex } from '@protocolbanks/stream-protocol'
import { type SQL, sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'
import { isSettledBy, isStopping } from './collectible.ts'
import { heldBy } from './heldBy.ts'
import { loadSettlementWork, type SettlementWork } from './loadSettlementWork.ts'
import type { FailureReason } from './settlement.ts'
import { openStatesSql } from './stateLists.ts'
import { settlementTable } from './table.ts'
import { orderByUrgency, type Urgency } from './urgency.ts'

/** An open settlement that nobody works on and whose moment has come. `owed`: what its items would still move. */
export type DueSettlement = Urgency & { id: string; account: Address }

/** Failures that end when the mirror shows more money, or that somebody unfroze. */
const raisable: readonly FailureReason[] = [
  'allowance_gone',
  'balance_too_low',
  'reserve_empty',
  'account_blocked',
  'token_refuses',
  'grant_frozen',
]
const raisableSql = sql.raw(`(${raisable.map((reason) => `'${reason}'`).join(', ')})`)

/**
 * For rows `s` of settlement and `g` of grant: whether what it waits for has come. Asked of the rows rather than told by
 * whoever changes them, so that a change during a look is not missed: the look's block says what it has seen.
 */
const isRaised: SQL = sql`s.state = 'failed' and (
  s.failure_reason in ${raisableSql} and s.looked_block < greatest(g.raised_block, coalesce(
    (select a.raised_block from account a where a.account = s.account and a.token = g.token), 0))
  or s.failure_reason = 'payee_blocked' and not exists (
    select from settlement_item i join payee_block b on b.token = g.token and b.payee = i.payee and b.blocked
    where i.settlement_id = s.id))`

export type DueOptions = {
  now: Date
  limit: number
  /** Grants that end within this come first. */
  expiryMarginSeconds: number
  /** As in `listClaimable`. */
  settler?: Address | undefined
}

/** In the order of `compareUrgency`. Several workers may ask at once: `leaseSettlement` decides who gets one. */
export async function listDueSettlements(
  db: Queryable,
  { now, limit, expiryMarginSeconds, settler }: DueOptions,
): Promise<DueSettlement[]> {
  const { rows } = await db.execute<Row>(sql`
    with due as (
      select s.id, s.grant_id, s.account, g.valid_until, g.source, s.trigger = 'withdrawal' as withdrawn,
        ${isStopping(now)} as stopping,
        coalesce(s.next_attempt_at, s.created_at) as due_since,
        (select coalesce(sum(greatest(i.amount - coalesce(c.settled, 0), 0)), 0) from settlement_item i
          left join channel c on c.grant_id = s.grant_id and c.payee = i.payee
          where i.settlement_id = s.id) as owed
      from settlement s join "grant" g on g.grant_id = s.grant_id
      where ${isDueAt(now)} and ${isSettledBy(settler)}
    )
    select * from due order by ${orderByUrgency({ now, expiryMarginSeconds })} limit ${limit}`)
  return rows.map((row) => ({
    id: row.id,
    grantId: row.grant_id,
    account: getAddress(row.account),
    stopping: row.stopping,
    validUntil: Number(row.valid_until),
    dueSince: new Date(row.due_since),
    withdrawn: row.withdrawn,
    source: row.source,
    owed: BigInt(row.owed),
  }))
}

/** Undefined when another worker came first, or it is no longer due. */
export async function leaseSettlement(
  db: Queryable,
  { id, owner, leaseMs, now }: { id: string; owner: string; leaseMs: number; now: Date },
): Promise<SettlementWork | undefined> {
  const until = new Date(now.getTime() + leaseMs).toISOString()
  const { rowCount } = await db.execute(sql`
    update settlement set lease_owner = ${owner}, lease_until = ${until}::timestamptz
    where id = (
      select s.id from settlement s join "grant" g on g.grant_id = s.grant_id
      where s.id = ${id} and ${isDueAt(now)} for update of s skip locked)`)
  if (rowCount !== 1) return undefined
  const [work] = await loadSettlementWork(db, [id])
  return work
}

/** False when the lease went to somebody else: stop working on it. */
export async function renewSettlementLease(
  db: Queryable,
  { id, owner, until }: { id: string; owner: string; until: Date },
): Promise<boolean> {
  const rows = await db
    .update(settlementTable)
    .set({ leaseUntil: until })
    .where(heldBy(id, owner))
    .returning({ id: settlementTable.id })
  return rows.length === 1
}

/** Gives a lease back without an outcome: its state stays, and it is due again at `nextAttemptAt`. */
export async function releaseSettlement(
  db: Queryable,
  { id, owner, nextAttemptAt }: { id: string; owner: string; nextAttemptAt: Date },
): Promise<boolean> {
  const rows = await db
    .update(settlementTable)
    .set({ leaseOwner: null, leaseUntil: null, nextAttemptAt })
    .where(heldBy(id, owner))
    .returning({ id: settlementTable.id })
  return rows.length === 1
}

type Row = {
  id: string
  grant_id: Hex
  account: string
  valid_until: string
  due_since: string | Date
  withdrawn: boolean
  stopping: boolean
  source: GrantSource
  owed: string
}

/** For rows `s` of settlement and `g` of grant. */
function isDueAt(now: Date): SQL {
  const nowIso = now.toISOString()
  return sql`s.state in ${openStatesSql}
    and (s.lease_until is null or s.lease_until <= ${nowIso}::timestamptz)
    and (s.next_attempt_at is null or s.next_attempt_at <= ${nowIso}::timestamptz or ${isRaised})`
}
