import { and, eq } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { ownerActor } from '../owners/ownerActor.ts'
import { type DecisionOutcome, recordDecision } from '../sentinel/decisions.ts'
import { acknowledgeIncident } from '../sentinel/incidents.ts'
import { sentinelIncidentTable } from '../sentinel/table.ts'
import type { AlertChannel, AlertLink } from './alert.ts'
import { queueForChannel } from './channels.ts'
import { findAlertLink, takeAlertLink } from './links.ts'
import { alertChannelTable } from './table.ts'

/**
 * done: with what came of it; `false` or another outcome than `recorded` says that it had been so before. unknown: no such
 * link. Of all others nothing was changed.
 */
export type AlertLinkUse =
  | { state: 'done'; link: AlertLink; channel: AlertChannel; outcome: boolean | DecisionOutcome }
  | { state: 'used' | 'expired'; link: AlertLink }
  | { state: 'unknown' }

/**
 * Does what a link is for, once, with an audit entry, in one transaction. A merchant acknowledges for themselves alone: an
 * owner is reminded until the owner or the operator has seen it. Only an owner's channel of the incident's own account
 * carries a decision.
 */
export function useAlertLink(db: Queryable, { token, now }: { token: string; now: Date }): Promise<AlertLinkUse> {
  return db.transaction(async (tx) => {
    const found = await findAlertLink(tx, { token, purposes: ['verify', 'acknowledge', 'confirm', 'reject'], now })
    // A chat is verified in the chat.
    if (!found || (found.link.purpose === 'verify' && found.channel.kind !== 'email')) return { state: 'unknown' }
    const { link, channel, state } = found
    if (state !== 'open') return { state, link }
    if (!(await takeAlertLink(tx, { id: link.id, now }))) return { state: 'used', link }
    const outcome = await act(tx, { link, channel, now })
    await appendAudit(tx, {
      actor: actorOf(channel),
      action: `alert_link_${link.purpose}`,
      subject: link.incidentId ?? channel.id,
      note: null,
      before: null,
      after: { linkId: link.id, channelId: channel.id, outcome },
    })
    return { state: 'done', link, channel, outcome }
  })
}

async function act(
  tx: Queryable,
  { link, channel, now }: { link: AlertLink; channel: AlertChannel; now: Date },
): Promise<boolean | DecisionOutcome> {
  const { incidentId, purpose } = link
  if (purpose === 'verify') return activateAlertChannel(tx, { id: channel.id, target: channel.target ?? '', now })
  if (incidentId === null) throw new Error(`The link ${link.id} is about no incident.`)
  const actor = actorOf(channel)
  if (purpose === 'acknowledge')
    return channel.merchantId === null ? acknowledgeIncident(tx, { id: incidentId, actor, now }) : true
  const [incident] = await tx
    .select({ account: sentinelIncidentTable.account })
    .from(sentinelIncidentTable)
    .where(eq(sentinelIncidentTable.id, incidentId))
  if (!channel.account || channel.account !== incident?.account) return 'unknown'
  return recordDecision(tx, { incidentId, decision: purpose, actor, now })
}

/** False when it was active or disabled before, or the holder has another channel to the same target. */
export async function activateAlertChannel(
  db: Queryable,
  { id, target, now }: { id: string; target: string; now: Date },
): Promise<boolean> {
  try {
    return await db.transaction(async (tx) => {
      const [row] = await tx
        .update(alertChannelTable)
        .set({ state: 'active', target, verifiedAt: now })
        .where(and(eq(alertChannelTable.id, id), eq(alertChannelTable.state, 'unverified')))
        .returning()
      if (row) await queueForChannel(tx, row, 'verified', now)
      return row !== undefined
    })
  } catch (error) {
    if (isUniqueViolation(error, 'alert_channel_once')) return false
    throw error
  }
}

function actorOf({ id, account }: AlertChannel): string {
  return account ? ownerActor(account) : `alert:${id}`
}
