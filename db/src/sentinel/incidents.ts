import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, lt, ne, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { openStop, type VoucherDefault } from './openStop.ts'
import { appendSentinelEvent } from './sentinelEvents.ts'
import { sentinelIncidentTable } from './table.ts'

/** block: refused at the gateways for a while, and not on the chain. */
export type IncidentAction = 'alert' | 'block' | 'freeze' | 'revoke'
export type Severity = 'info' | 'warning' | 'critical'

/** What a rule found about a grant, until it is closed. */
export type Incident = {
  /** `inc_` and a sortable id. */
  id: string
  grantId: Hex
  account: Address
  rule: string
  ruleVersion: number
  action: IncidentAction
  severity: Severity
  /** Of a rule that somebody wrote; null for those of the sentinel itself. */
  ruleId: string | null
  state: 'open' | 'acknowledged' | 'closed'
  /** The charge that opened it. Null, all three: no charge did, somebody asked for it. */
  payee: Address | null
  requestId: string | null
  chargedAt: Date | null
  /** What the rule compared. Amounts in base units; `sinceMs`: when what was found began, if it was not one charge. */
  inputs: Record<string, string>
  /** The same in one sentence. */
  explanation: string
  /** How often it was found while it was open. */
  findings: number
  openedAt: Date
  lastFoundAt: Date
  acknowledgedAt: Date | null
  acknowledgedBy: string | null
  closedAt: Date | null
  /** What is done with vouchers that were accepted before it was stopped. */
  voucherPolicy: 'hold' | 'settle'
  /** Base units that were accepted and not settled: when it was opened, then when the chain had stopped the grant. */
  accepted: bigint
}

export type NewIncident = Pick<
  Incident,
  | 'grantId'
  | 'account'
  | 'rule'
  | 'ruleVersion'
  | 'action'
  | 'severity'
  | 'ruleId'
  | 'payee'
  | 'requestId'
  | 'chargedAt'
  | 'inputs'
  | 'explanation'
> & {
  now: Date
  /** Where the owner says nothing; by default claims wait for them. */
  vouchers?: VoucherDefault | undefined
}

/**
 * Records what was found: with its event and the stop that its action asks for, in one transaction. While one of the same
 * rule is open for the grant it is counted there, and `isNew` is false, so any number of sentinels may find the same.
 *
 * @returns `stops`: the grant is to be stopped now; also when it had gone on half open, and the same is found again
 */
export function openIncident(
  db: Queryable,
  incident: NewIncident,
): Promise<{ incident: Incident; isNew: boolean; stops: boolean }> {
  return db.transaction(async (tx) => {
    const { now, vouchers = holdVouchers, ...found } = incident
    const id = newId('inc')
    const [row] = await tx
      .insert(sentinelIncidentTable)
      .values({ ...found, id, state: 'open', openedAt: now, lastFoundAt: now })
      .onConflictDoUpdate({
        target: [sentinelIncidentTable.grantId, sentinelIncidentTable.rule],
        targetWhere: ne(sentinelIncidentTable.state, 'closed'),
        set: {
          findings: sql`${sentinelIncidentTable.findings} + 1`,
          lastFoundAt: sql`greatest(${sentinelIncidentTable.lastFoundAt}, excluded.last_found_at)`,
        },
      })
      .returning()
    if (!row) throw new Error('Postgres returned no row for an upsert.')
    const { grantId, account, rule, ruleVersion, action, inputs, explanation, requestId } = found
    const stop = async () => {
      if (action !== 'freeze' && action !== 'revoke') return false
      const foundFrom = inputs.sinceMs === undefined ? (found.chargedAt ?? now) : new Date(Number(inputs.sinceMs))
      return openStop(tx, { incidentId: row.id, grantId, account, kind: action, foundFrom, vouchers, now })
    }
    if (row.id !== id) return { incident: row, isNew: false, stops: await stop() }
    await appendSentinelEvent(tx, {
      kind: action,
      rule,
      account,
      grantId,
      detail: { incidentId: id, ruleVersion, requestId, inputs, explanation },
    })
    return { incident: row, isNew: true, stops: await stop() }
  })
}

const holdVouchers: VoucherDefault = { policy: 'hold', settleFirstMs: 0 }

/** Newest first. As a tenant or an owner: those they see. */
export async function listIncidents(
  db: Queryable,
  filter: PageRequest & {
    grantId?: Hex | undefined
    state?: Incident['state'] | undefined
    severity?: Severity | undefined
  } = {},
): Promise<Page<Incident>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(sentinelIncidentTable)
    .where(
      and(
        filter.grantId === undefined ? undefined : eq(sentinelIncidentTable.grantId, filter.grantId),
        filter.state === undefined ? undefined : eq(sentinelIncidentTable.state, filter.state),
        filter.severity === undefined ? undefined : eq(sentinelIncidentTable.severity, filter.severity),
        filter.cursor === undefined ? undefined : lt(sentinelIncidentTable.id, filter.cursor),
      ),
    )
    .orderBy(desc(sentinelIncidentTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

/** Somebody has seen it. False when somebody had before, or it is closed. */
export function acknowledgeIncident(
  db: Queryable,
  { id, actor, now }: { id: string; actor: string; now: Date },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(sentinelIncidentTable)
      .set({ state: 'acknowledged', acknowledgedAt: now, acknowledgedBy: actor })
      .where(and(eq(sentinelIncidentTable.id, id), eq(sentinelIncidentTable.state, 'open')))
      .returning()
    if (!row) return false
    const { grantId, account, rule } = row
    await appendSentinelEvent(tx, { kind: 'acknowledged', rule, account, grantId, detail: { incidentId: id, actor } })
    return true
  })
}

/** False when it is closed, or was never open. */
export function closeIncident(
  db: Queryable,
  { id, actor, now }: { id: string; actor: string; now: Date },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(sentinelIncidentTable)
      .set({ state: 'closed', closedAt: now })
      .where(and(eq(sentinelIncidentTable.id, id), ne(sentinelIncidentTable.state, 'closed')))
      .returning()
    if (!row) return false
    const { grantId, account, rule } = row
    await appendSentinelEvent(tx, { kind: 'closed', rule, account, grantId, detail: { incidentId: id, actor } })
    return true
  })
}
