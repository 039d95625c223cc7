import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { asc, eq, sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'
import { sentinelRuleTable } from '../rules/table.ts'
import { type Decision, listDecisions } from '../sentinel/decisions.ts'
import { readGrantBudgets } from '../sentinel/grantStates.ts'
import type { Incident } from '../sentinel/incidents.ts'
import type { Stop } from '../sentinel/stops.ts'
import { sentinelIncidentTable, sentinelStopTable } from '../sentinel/table.ts'

/** What a message about an incident can say, as of now. Amounts in base units. */
export type AlertFacts = {
  incident: Incident
  /** The one that is told of, or else the newest. Undefined: it asked for none, or another stop was enough. */
  stop: Stop | undefined
  /** Whose rule found it; null: the owner's, the operator's or the sentinel's own. */
  ruleMerchantId: string | null
  /** Of the agent. */
  sessionKey: Address
  token: Address
  /** Charged and not settled: to all payees, or to the merchant who is told. */
  owed: bigint
  /** What the grant could still spend, by its limit and by what its account can pay. Undefined: not known. */
  atRisk: bigint | undefined
  decisions: Decision[]
}

/** Of one incident, which are few. */
const maxStops = 100

/** For a merchant with what is owed to them alone. Undefined: there is no such incident. */
export async function readAlertFacts(
  db: Queryable,
  {
    incidentId,
    merchantId,
    stopNumber,
  }: { incidentId: string; merchantId: string | null; stopNumber?: number | undefined },
): Promise<AlertFacts | undefined> {
  const [row] = await db
    .select({ incident: sentinelIncidentTable, ruleMerchantId: sentinelRuleTable.merchantId })
    .from(sentinelIncidentTable)
    .leftJoin(sentinelRuleTable, eq(sentinelRuleTable.id, sentinelIncidentTable.ruleId))
    .where(eq(sentinelIncidentTable.id, incidentId))
  if (!row) return undefined
  const { grantId } = row.incident
  const stops = await db
    .select()
    .from(sentinelStopTable)
    .where(eq(sentinelStopTable.incidentId, incidentId))
    .orderBy(asc(sentinelStopTable.id))
    .limit(maxStops)
  const grant = await readGrant(db, grantId, merchantId)
  const [budget] = await readGrantBudgets(db, [grantId])
  const left = budget && (budget.totalLimit > budget.charged ? budget.totalLimit - budget.charged : 0n)
  return {
    ...row,
    ...grant,
    stop: stopNumber === undefined ? stops.at(-1) : stops[stopNumber],
    atRisk: budget && left !== undefined ? (left < budget.funds ? left : budget.funds) : undefined,
    decisions: await listDecisions(db, { incidentId }),
  }
}

async function readGrant(db: Queryable, grantId: Hex, merchantId: string | null) {
  const { rows } = await db.execute<{ session_key: Address; token: Address; owed: string }>(sql`
    select g.session_key, g.token, (
      select coalesce(sum(greatest(c.charged - c.settled, 0)), 0) from channel c
      where c.grant_id = g.grant_id and (${merchantId}::text is null or c.merchant_id = ${merchantId}::text)
    )::text as owed
    from "grant" g where g.grant_id = ${grantId}`)
  const [row] = rows
  if (!row) throw new Error(`The grant ${grantId} of an incident is not known.`)
  return { sessionKey: getAddress(row.session_key), token: getAddress(row.token), owed: BigInt(row.owed) }
}
