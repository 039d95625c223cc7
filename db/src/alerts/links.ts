import { createHash, timingSafeEqual } from 'node:crypto'
import { and, eq, isNull, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import type { AlertChannel, AlertLink, AlertLinkPurpose } from './alert.ts'
import { alertChannelTable, alertLinkTable } from './table.ts'

const tokenPattern = /^[A-Za-z0-9_-]{43}$/

export type NewAlertLink = Pick<AlertLink, 'channelId' | 'deliveryId' | 'incidentId' | 'purpose' | 'expiresAt'> & {
  /** 256 bits in base64url; only its hash is stored. */
  token: string
  now: Date
}

/** A message that is sent again carries the links it had; one that was used stays used. */
export async function putAlertLink(db: Queryable, { token, now, ...link }: NewAlertLink): Promise<void> {
  if (!tokenPattern.test(token)) throw new Error('The token of a link is 32 bytes in base64url.')
  await db
    .insert(alertLinkTable)
    .values({ ...link, id: newId('lnk'), hash: hashOf(token), createdAt: now })
    .onConflictDoUpdate({
      target: [alertLinkTable.deliveryId, alertLinkTable.purpose],
      set: { hash: sql`excluded.hash`, expiresAt: sql`excluded.expires_at` },
      setWhere: isNull(alertLinkTable.usedAt),
    })
}

export type FoundAlertLink = { link: AlertLink; channel: AlertChannel; state: 'open' | 'used' | 'expired' }

/** Undefined: there is no such link, or none of this kind of channel. */
export async function findAlertLink(
  db: Queryable,
  { token, purposes, now }: { token: string; purposes: readonly AlertLinkPurpose[]; now: Date },
): Promise<FoundAlertLink | undefined> {
  if (!tokenPattern.test(token)) return undefined
  const hash = hashOf(token)
  const [row] = await db
    .select({ link: alertLinkTable, channel: alertChannelTable })
    .from(alertLinkTable)
    .innerJoin(alertChannelTable, eq(alertChannelTable.id, alertLinkTable.channelId))
    .where(eq(alertLinkTable.hash, hash))
  if (!row || !timingSafeEqual(Buffer.from(row.link.hash), Buffer.from(hash))) return undefined
  if (!purposes.includes(row.link.purpose)) return undefined
  const { hash: _, ...link } = row.link
  const state = link.usedAt ? 'used' : link.expiresAt <= now ? 'expired' : 'open'
  return { link, channel: row.channel, state }
}

/** True for one of all who try at once. */
export async function takeAlertLink(db: Queryable, { id, now }: { id: string; now: Date }): Promise<boolean> {
  const rows = await db
    .update(alertLinkTable)
    .set({ usedAt: now })
    .where(and(eq(alertLinkTable.id, id), isNull(alertLinkTable.usedAt)))
    .returning({ id: alertLinkTable.id })
  return rows.length === 1
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
