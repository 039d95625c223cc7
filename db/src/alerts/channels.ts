import { createHash, randomUUID } from 'node:crypto'
import { and, count, desc, eq, gt, lt, max, ne, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { ofRecipient } from '../webhooks/ofRecipient.ts'
import type { AlertChannel, AlertDelivery, AlertHolder } from './alert.ts'
import { putAlertLink } from './links.ts'
import { alertChannelTable, alertDeliveryTable, alertVerificationTable } from './table.ts'

/** Nobody has more that are not disabled. */
export const maxAlertChannels = 10
/** An address is asked no more often in any 24 hours, by whomever. */
export const maxVerificationsPerDay = 5
/** A holder has no more addresses asked in any 24 hours, the same or others. */
export const maxVerificationsOfHolder = 20
const dayMs = 86_400_000

export type NewAlertChannel = AlertHolder &
  Pick<AlertChannel, 'leastSeverity'> & { now: Date } & (
    | { kind: 'email'; target: string }
    /** Who sends this token to the bot is told there. */
    | { kind: 'telegram'; startToken: string; expiresAt: Date }
  )

/** many: the holder has `maxAlertChannels`. exists: one of theirs has this address. asked: too much was asked today. */
export type AlertChannelRefusal = 'many' | 'exists' | 'asked'

/** As the service: a channel begins unverified, and an e-mail address gets a message that asks it. */
export async function createAlertChannel(
  db: Queryable,
  wanted: NewAlertChannel,
): Promise<AlertChannel | AlertChannelRefusal> {
  const { merchantId, account, kind, leastSeverity, now } = wanted
  const whose = { merchantId, account }
  try {
    return await db.transaction(async (tx) => {
      // One at a time for each holder, so that two together do not pass the bound.
      await lock(tx, `alert_channel ${holderName(whose)}`)
      const [existing] = await tx
        .select({ number: count() })
        .from(alertChannelTable)
        .where(and(ofRecipient(alertChannelTable, whose), ne(alertChannelTable.state, 'disabled')))
      if ((existing?.number ?? 0) >= maxAlertChannels) return 'many'
      const target = wanted.kind === 'email' ? wanted.target : null
      const id = newId('ach')
      const [row] = await tx
        .insert(alertChannelTable)
        .values({ ...whose, id, kind, target, leastSeverity, state: 'unverified', createdAt: now })
        .returning()
      if (!row) throw new Error('Postgres returned no row for an insert.')
      if (wanted.kind === 'telegram') {
        const { startToken: token, expiresAt } = wanted
        await putAlertLink(tx, {
          channelId: id,
          deliveryId: null,
          incidentId: null,
          purpose: 'verify',
          token,
          expiresAt,
          now,
        })
        return row
      }
      // Rolls back, so that a refused channel leaves nothing.
      if (!(await queueVerification(tx, { ...row, target: wanted.target }, now))) throw new AskedTooOften()
      return row
    })
  } catch (error) {
    if (error instanceof AskedTooOften) return 'asked'
    if (isUniqueViolation(error, 'alert_channel_once')) return 'exists'
    throw error
  }
}

/** Asks an unverified e-mail address again. False when it was asked too often today. */
export function askAlertChannelAgain(
  db: Queryable,
  channel: AlertChannel & { target: string },
  now: Date,
): Promise<boolean> {
  return db.transaction((tx) => queueVerification(tx, channel, now))
}

async function queueVerification(
  tx: Queryable,
  channel: AlertChannel & { target: string },
  now: Date,
): Promise<boolean> {
  const targetHash = createHash('sha256').update(channel.target.toLowerCase()).digest('hex')
  await lock(tx, `alert_verification ${holderName(channel)}`)
  await lock(tx, `alert_verification ${targetHash}`)
  const asked = alertVerificationTable
  const holder = holderName(channel)
  const since = gt(asked.askedAt, new Date(now.getTime() - dayMs))
  const [ofAddress] = await tx
    .select({ number: count() })
    .from(asked)
    .where(and(eq(asked.targetHash, targetHash), since))
  const [ofHolder] = await tx
    .select({ number: count() })
    .from(asked)
    .where(and(eq(asked.holder, holder), since))
  if ((ofAddress?.number ?? 0) >= maxVerificationsPerDay) return false
  if ((ofHolder?.number ?? 0) >= maxVerificationsOfHolder) return false
  await tx.insert(asked).values({ targetHash, holder, askedAt: now })
  await queueForChannel(tx, channel, 'verify', now)
  return true
}

/** A message about the channel itself. */
export async function queueForChannel(
  db: Queryable,
  { id: channelId, merchantId, account }: Pick<AlertChannel, 'id' | 'merchantId' | 'account'>,
  kind: 'verify' | 'verified' | 'test',
  now: Date,
): Promise<AlertDelivery> {
  const table = alertDeliveryTable
  return db.transaction(async (tx) => {
    await lock(tx, `alert_delivery ${channelId}`)
    const [last] = await tx
      .select({ number: max(table.number) })
      .from(table)
      .where(and(eq(table.channelId, channelId), eq(table.kind, kind)))
    const [row] = await tx
      .insert(table)
      .values({
        id: `adl_${randomUUID().replaceAll('-', '')}`,
        channelId,
        merchantId,
        account,
        kind,
        number: (last?.number ?? -1) + 1,
        state: 'pending',
        nextAttemptAt: now,
        createdAt: now,
      })
      .returning()
    if (!row) throw new Error('Postgres returned no row for an insert.')
    return row
  })
}

/** Newest first. As a tenant or an owner: theirs. */
export async function listAlertChannels(db: Queryable, page: PageRequest = {}): Promise<Page<AlertChannel>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(alertChannelTable)
    .where(page.cursor === undefined ? undefined : lt(alertChannelTable.id, page.cursor))
    .orderBy(desc(alertChannelTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

export async function getAlertChannel(db: Queryable, id: string): Promise<AlertChannel | undefined> {
  const [row] = await db.select().from(alertChannelTable).where(eq(alertChannelTable.id, id))
  return row
}

/** With its messages and links. False when there was no such channel. */
export async function deleteAlertChannel(db: Queryable, id: string): Promise<boolean> {
  const rows = await db
    .delete(alertChannelTable)
    .where(eq(alertChannelTable.id, id))
    .returning({ id: alertChannelTable.id })
  return rows.length === 1
}

function holderName({ merchantId, account }: AlertHolder): string {
  return merchantId ?? account?.toLowerCase() ?? 'operator'
}

/** Until the transaction ends. */
async function lock(tx: Queryable, name: string): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`)
}

class AskedTooOften extends Error {}
