import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, gt } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { acknowledgeIncident } from './incidents.ts'
import { appendSentinelEvent } from './sentinelEvents.ts'
import { sentinelDecisionTable, sentinelIncidentTable } from './table.ts'

/** What an owner decided about an incident. Append-only. */
export type Decision = {
  /** `dcs_` and a sortable id. */
  id: string
  incidentId: string
  grantId: Hex
  account: Address
  /** confirm: it was the owner, let it go on. reject: stop it for good. */
  decision: 'confirm' | 'reject'
  /** Who decided; for a link the channel it was sent to. */
  actor: string
  decidedAt: Date
}

/**
 * recorded: it is new. repeated: the same had been decided. rejected: it was stopped for good before, which is not taken
 * back. closed: what is over cannot be confirmed, only rejected. unknown: there is no such incident.
 */
export type DecisionOutcome = 'recorded' | 'repeated' | 'rejected' | 'closed' | 'unknown'

/**
 * Writes an owner's decision with its event, and acknowledges the incident, in one transaction. Of several at once one
 * comes first. It only writes down: what follows from a decision is the sentinel's to do.
 */
export function recordDecision(
  db: Queryable,
  { incidentId, decision, actor, now }: Pick<Decision, 'incidentId' | 'decision' | 'actor'> & { now: Date },
): Promise<DecisionOutcome> {
  return db.transaction(async (tx) => {
    const [incident] = await tx
      .select()
      .from(sentinelIncidentTable)
      .where(eq(sentinelIncidentTable.id, incidentId))
      .for('no key update')
    if (!incident) return 'unknown'
    const before = await listDecisions(tx, { incidentId })
    if (before.some((made) => made.decision === decision)) return 'repeated'
    if (before.some((made) => made.decision === 'reject')) return 'rejected'
    if (decision === 'confirm' && incident.state === 'closed') return 'closed'
    const { grantId, account, rule } = incident
    const id = newId('dcs')
    await tx.insert(sentinelDecisionTable).values({ id, incidentId, grantId, account, decision, actor, decidedAt: now })
    const kind = decision === 'confirm' ? 'owner_confirmed' : 'owner_rejected'
    await appendSentinelEvent(tx, { kind, rule, account, grantId, detail: { incidentId, decisionId: id, actor } })
    await acknowledgeIncident(tx, { id: incidentId, actor, now })
    return 'recorded'
  })
}

const maxListed = 500

/** Oldest first, at most 500: of one incident, of one grant, or all after an id. */
export function listDecisions(
  db: Queryable,
  of: { incidentId?: string | undefined; grantId?: Hex | undefined; after?: string | undefined } = {},
): Promise<Decision[]> {
  const { id, incidentId, grantId } = sentinelDecisionTable
  return db
    .select()
    .from(sentinelDecisionTable)
    .where(
      and(
        of.incidentId === undefined ? undefined : eq(incidentId, of.incidentId),
        of.grantId === undefined ? undefined : eq(grantId, of.grantId),
        of.after === undefined ? undefined : gt(id, of.after),
      ),
    )
    .orderBy(asc(id))
    .limit(maxListed)
}
