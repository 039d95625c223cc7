import { and, eq, isNull, lte, or, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { AlertKind } from './alert.ts'
import { alertSenderTable } from './table.ts'

/** What the sentinels of this deployment can send. `sender`: from whom; null when it is not known yet. */
export type AlertSender = { kind: AlertKind; configured: boolean; sender: string | null }

/** Kinds that no sentinel has told of are not there. */
export function listAlertSenders(db: Queryable): Promise<AlertSender[]> {
  const { kind, configured, sender } = alertSenderTable
  return db.select({ kind, configured, sender }).from(alertSenderTable)
}

/** Who does not know the sender yet leaves the one that was told. */
export async function tellAlertSender(db: Queryable, { now, ...told }: AlertSender & { now: Date }): Promise<void> {
  const { configured, sender } = told
  await db
    .insert(alertSenderTable)
    .values({ ...told, toldAt: now })
    .onConflictDoUpdate({
      target: alertSenderTable.kind,
      set: { configured, toldAt: now, ...((sender !== null || !configured) && { sender }) },
    })
}

type Lease = { poller: string; now: Date; leaseMs: number }

/**
 * Lets one process at a time listen to the bot: Telegram ends all but one anyway. Says from which update on, or undefined
 * when another listens.
 */
export async function leaseBotUpdates(
  db: Queryable,
  { poller, now, leaseMs }: Lease,
): Promise<{ offset: number } | undefined> {
  const [row] = await db
    .update(alertSenderTable)
    .set({ poller, pollerUntil: new Date(now.getTime() + leaseMs) })
    .where(
      and(
        eq(alertSenderTable.kind, 'telegram'),
        or(
          isNull(alertSenderTable.poller),
          eq(alertSenderTable.poller, poller),
          lte(alertSenderTable.pollerUntil, now),
        ),
      ),
    )
    .returning({ offset: alertSenderTable.updateOffset })
  return row
}

/** Everything before `offset` has been seen to. It never goes back. */
export async function saveBotOffset(
  db: Queryable,
  { poller, offset }: { poller: string; offset: number },
): Promise<void> {
  await db
    .update(alertSenderTable)
    .set({ updateOffset: sql`greatest(${alertSenderTable.updateOffset}, ${offset}::bigint)` })
    .where(and(eq(alertSenderTable.kind, 'telegram'), eq(alertSenderTable.poller, poller)))
}

/** So that another listens at once. */
export async function endBotLease(db: Queryable, poller: string): Promise<void> {
  await db
    .update(alertSenderTable)
    .set({ poller: null, pollerUntil: null })
    .where(and(eq(alertSenderTable.kind, 'telegram'), eq(alertSenderTable.poller, poller)))
}
