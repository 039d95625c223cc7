import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray, isNull, or, sql } from 'drizzle-orm'
import type { Db, Queryable } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import { collectible } from '../settlements/collectible.ts'
import { openStatesSql } from '../settlements/stateLists.ts'
import { acceptedOf } from './openStop.ts'
import { appendSentinelEvent } from './sentinelEvents.ts'
import { sentinelIncidentTable, sentinelStopTable } from './table.ts'

/** A grant that is being stopped: at the gateways first, on the chain by the guardian. */
export type Stop = {
  /** `stp_` and a sortable id. */
  id: string
  incidentId: string
  grantId: Hex
  account: Address
  kind: 'freeze' | 'revoke'
  /** Since when no gateway serves the grant. Null: not yet. */
  refusedAt: Date | null
  /** sent: a transaction may be on its way. impossible: the chain will never take it from this guardian. */
  chainState: 'due' | 'sent' | 'confirmed' | 'impossible'
  nonce: number | null
  rawTransaction: Hex | null
  /** Of all versions of its transaction, oldest first. */
  hashes: Hex[]
  sentAt: Date | null
  /** The one that was included. Null: somebody else stopped the grant on the chain. */
  txHash: Hex | null
  blockNumber: bigint | null
  errorCode: string | null
  createdAt: Date
  updatedAt: Date
  /** Until then what was accepted is settled first. Null: it is stopped at once. */
  settleUntil: Date | null
  /** Of the event in its block that proves it. Null: somebody else stopped the grant on the chain. */
  logIndex: number | null
}

/** With what a person is told, and whom a gateway knows. */
export type OpenStop = Stop & {
  sessionKey: Address
  rule: string
  explanation: string
  /** Whether something that was accepted is not settled yet, or a settlement of it is under way. */
  owes: boolean
}

/**
 * Those that gateways still serve, or that the chain does not have yet, or, with `where`, one of the two. Oldest first.
 */
export async function listOpenStops(db: Queryable, limit: number, where?: 'gateways' | 'chain'): Promise<OpenStop[]> {
  const atGateways = where === 'chain' ? undefined : isNull(sentinelStopTable.refusedAt)
  const onChain = where === 'gateways' ? undefined : inArray(sentinelStopTable.chainState, ['due', 'sent'])
  const rows = await db
    .select({
      stop: sentinelStopTable,
      sessionKey: grantTable.sessionKey,
      rule: sentinelIncidentTable.rule,
      explanation: sentinelIncidentTable.explanation,
      owes: sql<boolean>`${sentinelStopTable.settleUntil} is not null and (
        exists (select from channel c where c.grant_id = ${sentinelStopTable.grantId} and ${collectible} > c.settled
          and c.signature is not null)
        or exists (select from settlement s
          where s.grant_id = ${sentinelStopTable.grantId} and s.state in ${openStatesSql}))`,
    })
    .from(sentinelStopTable)
    .innerJoin(grantTable, eq(grantTable.grantId, sentinelStopTable.grantId))
    .innerJoin(sentinelIncidentTable, eq(sentinelIncidentTable.id, sentinelStopTable.incidentId))
    .where(or(atGateways, onChain))
    .orderBy(asc(sentinelStopTable.id))
    .limit(limit)
  return rows.map(({ stop, ...told }) => ({ ...stop, ...told }))
}

/** Of an incident; undefined when its action stops nothing, or another stop was enough. */
export async function getStopOfIncident(db: Queryable, incidentId: string): Promise<Stop | undefined> {
  const [row] = await db.select().from(sentinelStopTable).where(eq(sentinelStopTable.incidentId, incidentId))
  return row
}

/** Every gateway refuses the grant from now on. False when that was recorded before. */
export function markRefused(db: Db, { id, now }: { id: string; now: Date }): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(sentinelStopTable)
      .set({ refusedAt: now, updatedAt: now })
      .where(and(eq(sentinelStopTable.id, id), isNull(sentinelStopTable.refusedAt)))
      .returning()
    if (row) await tell(tx, 'refused', row, {})
    return row !== undefined
  })
}

/**
 * Before it is sent, so that whoever takes over finds every version. One transaction for all of these stops.
 *
 * @returns false, with nothing recorded, when one of them is no longer as it was read: another sentinel went on with it
 */
export function recordStopTransaction(
  db: Db,
  {
    stops,
    nonce,
    rawTransaction,
    hash,
    now,
  }: {
    stops: readonly Pick<Stop, 'id' | 'hashes'>[]
    nonce: number
    rawTransaction: Hex
    hash: Hex
    now: Date
  },
): Promise<boolean> {
  return db
    .transaction(async (tx) => {
      const read = JSON.stringify(stops.map(({ id, hashes }) => ({ id, versions: hashes.length })))
      const { rowCount } = await tx.execute(sql`
        update sentinel_stop s set chain_state = 'sent', nonce = ${nonce}, raw_transaction = ${rawTransaction},
          hashes = array_append(s.hashes, ${hash.toLowerCase()}::text), sent_at = ${now.toISOString()}::timestamptz,
          updated_at = ${now.toISOString()}::timestamptz
        from jsonb_to_recordset(${read}::jsonb) as r (id text, versions integer)
        where s.id = r.id and cardinality(s.hashes) = r.versions and s.chain_state in ('due', 'sent')`)
      if (rowCount !== stops.length) throw new StopTakenError()
      return true
    })
    .catch((error: unknown) => {
      if (error instanceof StopTakenError) return false
      throw error
    })
}

/** Undoes what was recorded of some of them. */
class StopTakenError extends Error {}

/** The chain says that the grant is stopped. Without a transaction: somebody else did it. */
export function markStopConfirmed(
  db: Db,
  {
    id,
    now,
    logIndex = null,
    ...proof
  }: { id: string; txHash: Hex | null; blockNumber: bigint; logIndex?: number | null; now: Date },
): Promise<boolean> {
  return end(db, { id, kind: 'confirmed', set: { ...proof, logIndex, chainState: 'confirmed', updatedAt: now } })
}

/** No transaction of this guardian can stop it; the gateways go on refusing it. */
export function markStopImpossible(
  db: Db,
  { id, errorCode, now }: { id: string; errorCode: string; now: Date },
): Promise<boolean> {
  return end(db, { id, kind: 'impossible', set: { errorCode, chainState: 'impossible', updatedAt: now } })
}

/** Its nonce went to another transaction, or what was sent reverted: it is sent anew. */
export async function markStopDue(db: Queryable, { id, now }: { id: string; now: Date }): Promise<void> {
  await db
    .update(sentinelStopTable)
    .set({ chainState: 'due', nonce: null, rawTransaction: null, sentAt: null, updatedAt: now })
    .where(and(eq(sentinelStopTable.id, id), eq(sentinelStopTable.chainState, 'sent')))
}

/**
 * Runs `run` unless another process does so for the same guardian: its transactions follow each other. Undefined when
 * another does. Holds one connection until `run` ends.
 */
export function withGuardianLock<T>(db: Db, guardian: Address, run: () => Promise<T>): Promise<T | undefined> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.execute<{ locked: boolean }>(
      sql`select pg_try_advisory_xact_lock(hashtextextended(${`stream.guardian ${guardian.toLowerCase()}`}, 0)) as locked`,
    )
    return rows[0]?.locked ? run() : undefined
  })
}

function end(
  db: Db,
  { id, kind, set }: { id: string; kind: 'confirmed' | 'impossible'; set: Partial<Stop> },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(sentinelStopTable)
      .set(set)
      .where(and(eq(sentinelStopTable.id, id), inArray(sentinelStopTable.chainState, ['due', 'sent'])))
      .returning()
    if (!row) return false
    const { txHash, blockNumber, logIndex, errorCode, incidentId, grantId } = row
    const accepted = await acceptedOf(tx, grantId)
    if (kind === 'confirmed')
      await tx.update(sentinelIncidentTable).set({ accepted }).where(eq(sentinelIncidentTable.id, incidentId))
    await tell(tx, kind, row, {
      txHash,
      blockNumber: blockNumber?.toString() ?? null,
      logIndex,
      errorCode,
      acceptedAtomic: accepted.toString(),
    })
    return true
  })
}

async function tell(tx: Queryable, step: string, stop: Stop, detail: Record<string, unknown>): Promise<void> {
  const { id, incidentId, account, grantId, kind } = stop
  await appendSentinelEvent(tx, {
    kind: `${kind}_${step}`,
    account,
    grantId,
    detail: { stopId: id, incidentId, ...detail },
  })
}
