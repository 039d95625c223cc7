import { and, desc, eq, lt, ne, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { InvalidCursorError, limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import type { AlertChannel, AlertDelivery, AlertKind } from './alert.ts'
import { alertChannelTable, alertDeliveryTable, alertLinkTable, alertVerificationTable } from './table.ts'

export type AlertLease = {
  /** Of which kinds. */
  kinds: readonly AlertKind[]
  /** Who sends: another value for every call, so that a late answer of an ended lease changes nothing. */
  owner: string
  now: Date
  /** Longer than a try can take. Then another may try. */
  leaseMs: number
  limit: number
}

export type LeasedAlert = { delivery: AlertDelivery; channel: AlertChannel }

/**
 * Takes what is due, and counts the try. Of each channel the oldest message alone: what comes later waits until it was sent
 * or given up, so that everybody reads things in the order in which they happened.
 */
export async function leaseAlerts(
  db: Queryable,
  { kinds, owner, now, leaseMs, limit }: AlertLease,
): Promise<LeasedAlert[]> {
  const moment = now.toISOString()
  const until = new Date(now.getTime() + leaseMs).toISOString()
  const { rows } = await db.execute<{ id: string }>(sql`
    with head as materialized (
      select distinct on (d.channel_id) d.id from alert_delivery d join alert_channel c on c.id = d.channel_id
      where d.state = 'pending' and c.kind = any(${sql.param([...kinds])}::text[])
        and (c.state = 'active' or (c.state = 'unverified' and d.kind = 'verify'))
      order by d.channel_id, d.position
    ), due as materialized (
      select d.id from alert_delivery d
      where d.id in (select id from head) and d.state = 'pending' and d.next_attempt_at <= ${moment}::timestamptz
      order by d.next_attempt_at, d.position
      limit ${limit}
      for update skip locked
    )
    update alert_delivery d set
      attempts = d.attempts + 1, next_attempt_at = ${until}::timestamptz, lease_owner = ${owner}
    where d.id in (select id from due)
    returning d.id`)
  if (rows.length === 0) return []
  const leased = await db
    .select({ delivery: alertDeliveryTable, channel: alertChannelTable })
    .from(alertDeliveryTable)
    .innerJoin(alertChannelTable, eq(alertChannelTable.id, alertDeliveryTable.channelId))
    .where(eq(alertDeliveryTable.leaseOwner, owner))
    .orderBy(alertDeliveryTable.position)
  return leased
}

/** What follows from a try. `failed`: this message was given up. `disable`: the channel takes nothing any more. */
export type AlertVerdict =
  | { state: 'delivered' }
  | { state: 'skipped' }
  | { state: 'pending'; nextAttemptAt: Date; error: string }
  | { state: 'failed'; error: string; disable?: 'refused' | 'blocked' | 'gone' | undefined }

const maxErrorLength = 300

/** False, and nothing is written, when the lease is no longer ours: another try is on its way. */
export function recordAlertAttempt(
  db: Queryable,
  of: { delivery: Pick<AlertDelivery, 'id' | 'channelId'>; owner: string; verdict: AlertVerdict; now: Date },
): Promise<boolean> {
  const { delivery, owner, verdict, now } = of
  const lastError = 'error' in verdict ? shorten(verdict.error) : null
  return db.transaction(async (tx) => {
    const ours = await tx
      .update(alertDeliveryTable)
      .set(
        verdict.state === 'pending'
          ? { nextAttemptAt: verdict.nextAttemptAt, lastError, leaseOwner: null }
          : { state: verdict.state, nextAttemptAt: null, endedAt: now, lastError, leaseOwner: null },
      )
      .where(and(eq(alertDeliveryTable.id, delivery.id), eq(alertDeliveryTable.leaseOwner, owner)))
      .returning({ id: alertDeliveryTable.id })
    if (ours.length === 0) return false
    if (verdict.state === 'failed' && verdict.disable)
      await disableAlertChannel(tx, { id: delivery.channelId, reason: verdict.disable, detail: lastError, now })
    return true
  })
}

/** What waits for it is given up. False when it was disabled before. */
export function disableAlertChannel(
  db: Queryable,
  of: { id: string; reason: NonNullable<AlertChannel['disabledReason']>; detail: string | null; now: Date },
): Promise<boolean> {
  const { id, reason, detail, now } = of
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(alertChannelTable)
      .set({ state: 'disabled', disabledReason: reason, disabledDetail: detail, disabledAt: now })
      .where(and(eq(alertChannelTable.id, id), ne(alertChannelTable.state, 'disabled')))
      .returning({ id: alertChannelTable.id })
    if (!row) return false
    await tx
      .update(alertDeliveryTable)
      .set({
        state: 'failed',
        nextAttemptAt: null,
        endedAt: now,
        leaseOwner: null,
        lastError: 'The channel is disabled.',
      })
      .where(and(eq(alertDeliveryTable.channelId, id), eq(alertDeliveryTable.state, 'pending')))
    return true
  })
}

/** Of one channel, newest first. */
export async function listAlertDeliveries(
  db: Queryable,
  filter: PageRequest & { channelId: string },
): Promise<Page<AlertDelivery>> {
  const limit = limitOf(filter)
  const { channelId, position } = alertDeliveryTable
  const rows = await db
    .select()
    .from(alertDeliveryTable)
    .where(
      and(
        eq(channelId, filter.channelId),
        filter.cursor === undefined ? undefined : lt(position, toPosition(filter.cursor)),
      ),
    )
    .orderBy(desc(position))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.position.toString())
}

/**
 * Reminds of incidents that nobody acknowledged: at most once within `everyMs` of the last message that was sent, and no
 * more than `max` times. A merchant's own link silences that merchant alone. Says how many.
 */
export async function queueAlertRepeats(
  db: Queryable,
  { now, everyMs, max }: { now: Date; everyMs: number; max: number },
): Promise<number> {
  const before = new Date(now.getTime() - everyMs).toISOString()
  const { rowCount } = await db.execute(sql`
    insert into alert_delivery
      (id, channel_id, merchant_id, account, incident_id, kind, number, state, next_attempt_at, created_at)
    select 'adl_' || replace(gen_random_uuid()::text, '-', ''), c.id, c.merchant_id, c.account, i.id, 'repeated',
      told.sent, 'pending', ${now.toISOString()}::timestamptz, ${now.toISOString()}::timestamptz
    from sentinel_incident i
    join alert_delivery o on o.incident_id = i.id and o.kind = 'opened'
    join alert_channel c on c.id = o.channel_id and c.state = 'active'
    cross join lateral (
      select count(*) filter (where d.kind = 'repeated')::integer as sent, bool_or(d.state = 'pending') as waits,
        max(d.ended_at) as last_at
      from alert_delivery d
      where d.incident_id = i.id and d.channel_id = c.id and d.kind in ('opened', 'repeated')
    ) told
    where i.state = 'open' and not told.waits and told.last_at <= ${before}::timestamptz and told.sent < ${max}
      and (c.merchant_id is null or not exists (
        select from alert_link l join alert_channel lc on lc.id = l.channel_id
        where l.incident_id = i.id and l.purpose = 'acknowledge' and l.used_at is not null
          and lc.merchant_id = c.merchant_id))
    limit 1000
    on conflict do nothing`)
  return rowCount ?? 0
}

/** How many messages wait to be sent, and since when the oldest. Undefined: none waits. */
export async function countWaitingAlerts(db: Queryable): Promise<{ count: number; oldestAt: Date } | undefined> {
  const [row] = await db
    .select({
      count: sql<number>`count(*)::integer`,
      oldestAt: sql`min(${alertDeliveryTable.createdAt})`.mapWith(alertDeliveryTable.createdAt),
    })
    .from(alertDeliveryTable)
    .where(eq(alertDeliveryTable.state, 'pending'))
  return row && row.count > 0 ? row : undefined
}

const dayMs = 86_400_000

/**
 * Forgets what says nothing any more, at most `limit` of each: when addresses were asked, a day ago; links that ended a
 * month ago; channels that nobody verified for a week. Says how many.
 */
export async function pruneAlerts(db: Queryable, { now, limit }: { now: Date; limit: number }): Promise<number> {
  const before = (days: number) => new Date(now.getTime() - days * dayMs).toISOString()
  const asked = await db.execute(sql`delete from ${alertVerificationTable} where ctid in (
    select ctid from ${alertVerificationTable} where asked_at < ${before(1)}::timestamptz limit ${limit})`)
  const links = await db.execute(sql`delete from ${alertLinkTable} where id in (
    select id from ${alertLinkTable} where expires_at < ${before(30)}::timestamptz limit ${limit})`)
  const channels = await db.execute(sql`delete from ${alertChannelTable} where id in (
    select id from ${alertChannelTable} where state = 'unverified' and created_at < ${before(7)}::timestamptz limit ${limit})`)
  return (asked.rowCount ?? 0) + (links.rowCount ?? 0) + (channels.rowCount ?? 0)
}

function toPosition(cursor: string): bigint {
  if (!/^\d{1,18}$/.test(cursor)) throw new InvalidCursorError(cursor)
  return BigInt(cursor)
}

function shorten(error: string): string {
  const oneLine = error.replaceAll(/\s+/g, ' ').trim().slice(0, maxErrorLength)
  return oneLine === '' ? 'No reason was given.' : oneLine
}
