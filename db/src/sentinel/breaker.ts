import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, eq, inArray, isNull, lt, ne, sql } from 'drizzle-orm'
import type { Db, Queryable } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import { closeIncident } from './incidents.ts'
import { openStop, type VoucherDefault } from './openStop.ts'
import { appendSentinelEvent } from './sentinelEvents.ts'
import { sentinelBreakerTable, sentinelIncidentTable, sentinelStopTable } from './table.ts'

/** closed: nothing stops the grant. half_open: its owner lets it go on, watched more closely. revoked: for good. */
export type BreakerState = 'closed' | 'open' | 'half_open' | 'revoked'

/** How far a grant's breaker is. */
export type Breaker = {
  grantId: Hex
  account: Address
  state: BreakerState
  since: Date
  /** What opened it last. */
  incidentId: string
  /** Of half_open: since when the gateways serve it again. Null: not yet. */
  liftedAt: Date | null
  updatedAt: Date
}

/** One step of a breaker that somebody read before. It is taken if nobody took another meanwhile. */
export type BreakerMove = {
  breaker: Pick<Breaker, 'grantId' | 'account' | 'state' | 'incidentId' | 'updatedAt'>
  /** Why, for the record. */
  why: string
  now: Date
}

export async function getBreaker(db: Queryable, grantId: Hex): Promise<Breaker | undefined> {
  const [row] = await db.select().from(sentinelBreakerTable).where(eq(sentinelBreakerTable.grantId, grantId))
  return row
}

/**
 * To half_open, closed or revoked, with its event. The last two end what the grant's incidents were about, so those that
 * stopped it are closed. False when another sentinel took a step before.
 */
export function moveBreaker(
  db: Db,
  { breaker, why, now, to }: BreakerMove & { to: 'half_open' | 'closed' | 'revoked' },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const liftedAt = to === 'closed' ? sql`${sentinelBreakerTable.liftedAt}` : null
    if (!(await take(tx, breaker, { state: to, since: now, liftedAt, updatedAt: now }))) return false
    const { account, grantId, incidentId } = breaker
    const kind = to === 'half_open' ? 'half_open' : `breaker_${to}`
    await appendSentinelEvent(tx, { kind, account, grantId, detail: { incidentId, why } })
    if (to === 'half_open') return true
    const open = await tx
      .select({ id: sentinelIncidentTable.id })
      .from(sentinelIncidentTable)
      .where(
        and(
          eq(sentinelIncidentTable.grantId, grantId),
          ne(sentinelIncidentTable.state, 'closed'),
          inArray(sentinelIncidentTable.action, ['freeze', 'revoke']),
        ),
      )
    for (const { id } of open) await closeIncident(tx, { id, actor: 'sentinel', now })
    return true
  })
}

/** What was frozen is to be revoked. False when another sentinel came first. */
export function revokeStopped(db: Db, { breaker, why, now }: BreakerMove): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await take(tx, breaker, { updatedAt: now }))) return false
    const { account, grantId, incidentId } = breaker
    // What was accepted had its time before the freeze.
    const vouchers = { policy: 'hold', settleFirstMs: 0 } as const
    const opened = await openStop(tx, { incidentId, grantId, account, kind: 'revoke', foundFrom: now, vouchers, now })
    if (opened) await appendSentinelEvent(tx, { kind: 'revoke', account, grantId, detail: { incidentId, why } })
    return opened
  })
}

/** The block that had the stop is gone: it is due again. */
export function repeatStop(db: Db, { breaker, why, now, stopId }: BreakerMove & { stopId: string }): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await take(tx, breaker, { updatedAt: now }))) return false
    const { account, grantId, incidentId } = breaker
    const unsent = { nonce: null, rawTransaction: null, sentAt: null, txHash: null, blockNumber: null, logIndex: null }
    const again = await tx
      .update(sentinelStopTable)
      .set({ ...unsent, chainState: 'due', updatedAt: now })
      .where(and(eq(sentinelStopTable.id, stopId), eq(sentinelStopTable.chainState, 'confirmed')))
      .returning({ id: sentinelStopTable.id })
    if (again.length === 0) return false
    await appendSentinelEvent(tx, { kind: 'stop_lost', account, grantId, detail: { incidentId, stopId, why } })
    return true
  })
}

/**
 * Lifts the sentinel's hold of a grant that may go on: `lift` tells the gateways, while nobody can open the breaker again,
 * so that a new stop is never undone by it. Undefined when there is nothing to lift any more.
 */
export function liftHold(
  db: Db,
  { grantId, now }: { grantId: Hex; now(): Date },
  lift: (grant: { grantId: Hex; sessionKey: Address }) => Promise<void>,
): Promise<Date | undefined> {
  return db.transaction(async (tx) => {
    const [held] = await tx
      .select({ breaker: sentinelBreakerTable, sessionKey: grantTable.sessionKey })
      .from(sentinelBreakerTable)
      .innerJoin(grantTable, eq(grantTable.grantId, sentinelBreakerTable.grantId))
      .where(
        and(
          eq(sentinelBreakerTable.grantId, grantId),
          eq(sentinelBreakerTable.state, 'half_open'),
          isNull(sentinelBreakerTable.liftedAt),
        ),
      )
      .for('update', { of: sentinelBreakerTable })
    if (!held) return undefined
    await lift({ grantId, sessionKey: held.sessionKey })
    const liftedAt = now()
    await tx
      .update(sentinelBreakerTable)
      .set({ liftedAt, updatedAt: liftedAt })
      .where(eq(sentinelBreakerTable.grantId, grantId))
    const { account, incidentId } = held.breaker
    await appendSentinelEvent(tx, { kind: 'hold_lifted', account, grantId, detail: { incidentId } })
    return liftedAt
  })
}

/** An owner's word that a grant is to be stopped for good, where nothing does so yet. How many were opened. */
export async function stopRejected(
  db: Db,
  { vouchers, now, limit }: { vouchers: VoucherDefault; now: Date; limit: number },
): Promise<number> {
  const { rows } = await db.execute<{ incident_id: string; grant_id: Hex }>(sql`
    select d.incident_id, d.grant_id from sentinel_decision d
    where d.decision = 'reject'
      and not exists (select from sentinel_stop s where s.grant_id = d.grant_id and s.kind = 'revoke')
      and not exists (select from sentinel_breaker b where b.grant_id = d.grant_id and b.state = 'revoked')
    order by d.id limit ${limit}`)
  let opened = 0
  for (const row of rows) {
    const isNew = await db.transaction(async (tx) => {
      const [incident] = await tx
        .select()
        .from(sentinelIncidentTable)
        .where(eq(sentinelIncidentTable.id, row.incident_id))
      if (!incident) return false
      const { id: incidentId, account, grantId } = incident
      const stop = { incidentId, account, grantId, kind: 'revoke', foundFrom: now, vouchers, now } as const
      if (!(await openStop(tx, stop))) return false
      await appendSentinelEvent(tx, { kind: 'revoke', account, grantId, detail: { incidentId, why: 'rejected' } })
      return true
    })
    if (isNew) opened++
  }
  return opened
}

/** Closes what stopped nothing and was not found again since `before`. How many were closed. */
export async function closeQuietIncidents(
  db: Db,
  { before, now, limit }: { before: Date; now: Date; limit: number },
): Promise<number> {
  const quiet = await db
    .select({ id: sentinelIncidentTable.id })
    .from(sentinelIncidentTable)
    .where(
      and(
        ne(sentinelIncidentTable.state, 'closed'),
        inArray(sentinelIncidentTable.action, ['alert', 'block']),
        lt(sentinelIncidentTable.lastFoundAt, before),
      ),
    )
    .orderBy(sentinelIncidentTable.lastFoundAt)
    .limit(limit)
  let closed = 0
  for (const { id } of quiet) if (await closeIncident(db, { id, actor: 'sentinel', now })) closed++
  return closed
}

/** True when nobody changed it since it was read. */
async function take(
  tx: Queryable,
  { grantId, state, updatedAt }: BreakerMove['breaker'],
  set: Parameters<ReturnType<Db['update']>['set']>[0],
): Promise<boolean> {
  const rows = await tx
    .update(sentinelBreakerTable)
    .set(set)
    .where(
      and(
        eq(sentinelBreakerTable.grantId, grantId),
        eq(sentinelBreakerTable.state, state),
        eq(sentinelBreakerTable.updatedAt, updatedAt),
      ),
    )
    .returning({ grantId: sentinelBreakerTable.grantId })
  return rows.length === 1
}
