import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray, isNull, or, sql } from 'drizzle-orm'
import type { Db, Queryable } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
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
}

/** With what a person is told, and whom a gateway knows. */
export type OpenStop = Stop & { sessionKey: Address; rule: string; explanation: string }

/** Those that gateways still serve, or that the chain does not have yet. Oldest first. */
export async function listOpenStops(db: Queryable, limit: number): Promise<OpenStop[]> {
  const rows = await db
    .select({
      stop: sentinelStopTable,
      sessionKey: grantTable.sessionKey,
      rule: sentinelIncidentTable.rule,
      explanation: sentinelIncidentTable.explanation,
    })
    .from(sentinelStopTable)
    .innerJoin(grantTable, eq(grantTable.grantId, sentinelStopTable.grantId))
    .innerJoin(sentinelIncidentTable, eq(sentinelIncidentTable.id, sentinelStopTable.incidentId))
    .where(or(isNull(sentinelStopTable.refusedAt), inArray(sentinelStopTable.chainState, ['due', 'sent'])))
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

/** Before it is sent, so that whoever takes over finds every version. */
export async function recordStopTransaction(
  db: Queryable,
  { id, nonce, rawTransaction, hash, now }: { id: string; nonce: number; rawTransaction: Hex; hash: Hex; now: Date },
): Promise<void> {
  await db
    .update(sentinelStopTable)
    .set({
      chainState: 'sent',
      nonce,
      rawTransaction,
      hashes: sql`array_append(${sentinelStopTable.hashes}, ${hash.toLowerCase()}::text)`,
      sentAt: now,
      updatedAt: now,
    })
    .where(and(eq(sentinelStopTable.id, id), inArray(sentinelStopTable.chainState, ['due', 'sent'])))
}

/** The chain says that the grant is stopped. Without a transaction: somebody else did it. */
export function markStopConfirmed(
  db: Db,
  { id, now, ...proof }: { id: string; txHash: Hex | null; blockNumber: bigint; now: Date },
): Promise<boolean> {
  return end(db, { id, kind: 'confirmed', set: { ...proof, chainState: 'confirmed', updatedAt: now } })
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
    const { txHash, blockNumber, errorCode } = row
    await tell(tx, kind, row, { txHash, blockNumber: blockNumber?.toString() ?? null, errorCode })
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
