import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, isNotNull, isNull, lte, ne, or, sql } from 'drizzle-orm'
import { setControl } from '../controls/controls.ts'
import { unfreezeGrant } from '../controls/freezeGrant.ts'
import type { Db, Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { closeIncident, type Incident, type NewIncident, openIncident } from '../sentinel/incidents.ts'
import { appendSentinelEvent } from '../sentinel/sentinelEvents.ts'
import { sentinelRuleHoldTable } from './table.ts'

/** What a rule holds at the gateways, without the chain: the whole grant, or what goes to a merchant. */
export type RuleHold = {
  /** `rhd_` and a sortable id. */
  id: string
  incidentId: string
  ruleId: string
  grantId: Hex
  account: Address
  /** Null: for all payees. */
  merchantId: string | null
  /** Null: until somebody lifts it. */
  until: Date | null
  reason: string
  /** Since when gateways refuse. Null: not yet. */
  placedAt: Date | null
  liftedAt: Date | null
  createdAt: Date
}

/** What a rule found, and the hold that its action asks for, in one transaction. Once while the incident is open. */
export function openHoldingIncident(
  db: Db,
  incident: NewIncident,
  hold: Pick<RuleHold, 'ruleId' | 'merchantId' | 'until' | 'reason'>,
): Promise<{ incident: Incident; isNew: boolean; stops: boolean }> {
  return db.transaction(async (tx) => {
    const opened = await openIncident(tx, incident)
    if (!opened.isNew) return opened
    const { id: incidentId, grantId, account } = opened.incident
    await tx
      .insert(sentinelRuleHoldTable)
      .values({ ...hold, id: newId('rhd'), incidentId, grantId, account, createdAt: incident.now })
    return opened
  })
}

/**
 * Holds that something is to be done about: those that no gateway has yet, those whose time is over or whose rule is not
 * live any more, and those that somebody lifted by hand. Oldest first.
 */
export function listDueRuleHolds(db: Queryable, { now, limit }: { now: Date; limit: number }): Promise<RuleHold[]> {
  return db
    .select()
    .from(sentinelRuleHoldTable)
    .where(and(isNull(sentinelRuleHoldTable.liftedAt), or(isNull(sentinelRuleHoldTable.placedAt), isOver(now))))
    .orderBy(asc(sentinelRuleHoldTable.id))
    .limit(limit)
}

/** Undefined when there is none. As an owner or a tenant: of theirs. */
export async function getRuleHold(db: Queryable, id: string): Promise<RuleHold | undefined> {
  const [hold] = await db.select().from(sentinelRuleHoldTable).where(eq(sentinelRuleHoldTable.id, id))
  return hold
}

/**
 * Brings the controls of a grant to what this hold asks for now: sets or lifts the one of rules, and no other holder's. The
 * meter has it after the account's next mirror, and `settleRuleHold` records that it has. Undefined when there is no such
 * hold, or it is lifted.
 */
export function applyRuleHold(
  db: Queryable,
  { id, now }: { id: string; now: Date },
): Promise<{ hold: RuleHold; is: 'placed' | 'lifted' } | undefined> {
  return db.transaction(async (tx) => {
    const [hold] = await tx
      .select()
      .from(sentinelRuleHoldTable)
      .where(and(eq(sentinelRuleHoldTable.id, id), isNull(sentinelRuleHoldTable.liftedAt)))
      .for('update')
    if (!hold) return undefined
    const { grantId, merchantId, reason, ruleId } = hold
    await tx.execute(
      sql`select pg_advisory_xact_lock(hashtextextended(${`stream.ruleHolds ${grantId.toLowerCase()}`}, 0))`,
    )
    if (!(await isHoldOver(tx, id, now))) {
      const control = { grantId, merchantId, holder: 'rule', reason, actor: `rule:${ruleId}` } as const
      await setControl(tx, { ...control, state: 'frozen' })
      return { hold, is: 'placed' }
    }
    if (!(await hasOther(tx, hold, now))) await unfreezeGrant(tx, { grantId, merchantId, holders: ['rule'] })
    return { hold, is: 'lifted' }
  })
}

/** The meter has what `applyRuleHold` did. With an event; a hold that is lifted closes its incident. */
export function settleRuleHold(
  db: Db,
  { hold, is, now }: { hold: RuleHold; is: 'placed' | 'lifted'; now: Date },
): Promise<boolean> {
  const { id, incidentId, grantId, account, merchantId, ruleId, until } = hold
  return db.transaction(async (tx) => {
    const set = is === 'placed' ? { placedAt: now } : { liftedAt: now }
    const column = is === 'placed' ? sentinelRuleHoldTable.placedAt : sentinelRuleHoldTable.liftedAt
    const [row] = await tx
      .update(sentinelRuleHoldTable)
      .set(set)
      .where(and(eq(sentinelRuleHoldTable.id, id), isNull(column)))
      .returning({ id: sentinelRuleHoldTable.id })
    if (!row) return false
    await appendSentinelEvent(tx, {
      kind: is === 'placed' ? 'block_refused' : 'block_lifted',
      account,
      grantId,
      merchantId,
      detail: { holdId: id, incidentId, ruleId, until: until?.toISOString() ?? null },
    })
    if (is === 'lifted') await closeIncident(tx, { id: incidentId, actor: 'sentinel', now })
    return true
  })
}

/** Its time is over, its rule is not live, or a gateway had it and has not any more. */
function isOver(now: Date) {
  // Named in full: a query of one table leaves its name out of columns, and the inner tables have the same columns.
  const isLive = sql.raw(
    `exists (select from sentinel_rule r where r.id = sentinel_rule_hold.rule_id and r.state = 'live')`,
  )
  const stands = sql.raw(`exists (select from grant_control c where c.grant_id = sentinel_rule_hold.grant_id
    and c.merchant_id is not distinct from sentinel_rule_hold.merchant_id and c.holder = 'rule')`)
  const { until, placedAt } = sentinelRuleHoldTable
  return or(and(isNotNull(until), lte(until, now)), sql`not ${isLive}`, and(isNotNull(placedAt), sql`not ${stands}`))
}

async function isHoldOver(tx: Queryable, id: string, now: Date): Promise<boolean> {
  const rows = await tx
    .select({ id: sentinelRuleHoldTable.id })
    .from(sentinelRuleHoldTable)
    .where(and(eq(sentinelRuleHoldTable.id, id), isOver(now)))
  return rows.length === 1
}

/** Whether another hold of a rule stands for the same. */
async function hasOther(tx: Queryable, { id, grantId, merchantId }: RuleHold, now: Date): Promise<boolean> {
  const others = and(
    ne(sentinelRuleHoldTable.id, id),
    eq(sentinelRuleHoldTable.grantId, grantId),
    merchantId === null ? isNull(sentinelRuleHoldTable.merchantId) : eq(sentinelRuleHoldTable.merchantId, merchantId),
    isNull(sentinelRuleHoldTable.liftedAt),
    isNotNull(sentinelRuleHoldTable.placedAt),
    sql`not (${isOver(now)})`,
  )
  return (await tx.$count(sentinelRuleHoldTable, others)) > 0
}
