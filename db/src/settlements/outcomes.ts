import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, eq, isNull, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { closedByReorganisation } from './closedByReorganisation.ts'
import { heldBy } from './heldBy.ts'
import type { FailureReason } from './settlement.ts'
import { settlementItemTable, settlementTable } from './table.ts'

/** Which settlement, and who holds its lease. Every function here answers false when that is no longer so. */
export type Held = { id: string; owner: string }

/**
 * Remembers the UserOperation of an attempt before it is sent, so that a crash after sending loses nothing. The hash of
 * the attempt before joins `earlierUserOpHashes`.
 */
export function recordUserOperation(
  db: Queryable,
  { id, owner, userOpHash, userOperation }: Held & { userOpHash: Hex; userOperation: unknown },
): Promise<boolean> {
  return change(db, { id, owner }, { ...newest(userOpHash), userOperation, state: 'intended', sentAt: null, waits: 0 })
}

/** The hash that was the newest until now joins the earlier ones. */
function newest(userOpHash: Hex | null) {
  return {
    earlierUserOpHashes: sql`case
      when ${settlementTable.userOpHash} is null or ${settlementTable.userOpHash} = ${userOpHash?.toLowerCase() ?? null}::text
        then ${settlementTable.earlierUserOpHashes}
      else array_append(${settlementTable.earlierUserOpHashes}, ${settlementTable.userOpHash}::text) end`,
    userOpHash,
  }
}

/**
 * The bundler took it, now or before. The lease stays: renew it while waiting, or release it to look again later.
 */
export function markSubmitted(db: Queryable, held: Held): Promise<boolean> {
  const sentAt = sql`coalesce(${settlementTable.sentAt}, now())`
  return change(db, held, { state: 'submitted', sentAt, ...noFailure })
}

/** It is in a block, which is not deep enough yet. */
export function markIncluded(
  db: Queryable,
  { id, owner, txHash, blockNumber }: Held & { txHash: Hex; blockNumber: bigint },
): Promise<boolean> {
  return change(db, { id, owner }, { state: 'included', txHash, blockNumber, ...noFailure })
}

/** Its block is no longer part of the chain: it is under way again. */
export function markTakenBack(db: Queryable, held: Held): Promise<boolean> {
  return change(db, held, { state: 'submitted', ...takenBack })
}

export const takenBack = {
  txHash: null,
  blockNumber: null,
  // Whether the bundler still has it is not known.
  sentAt: null,
  failureReason: 'reorganised',
  errorCode: 'chain.reorganised',
  errorMessage: 'The block that included it is no longer part of the chain.',
} as const

export type Confirmation = Held & {
  /** Which attempt was included. Null: an ordinary transaction. */
  userOpHash: Hex | null
  txHash: Hex
  blockNumber: bigint
  gasUsed: bigint
  gasCostWei: bigint
  /** What the chain did with each claim. An item that is not named here stays without an outcome. */
  items: readonly { payee: Address; paid: bigint; skippedReason?: string | undefined }[]
}

/** The outcome is final. Ends the settlement and writes each item's outcome, in one transaction. */
export function markConfirmed(db: Queryable, { id, owner, ...outcome }: Confirmation): Promise<boolean> {
  return confirmWhere(db, id, heldBy(id, owner), outcome)
}

/**
 * The chain has a settlement after all that a reorganisation closed (see `listClosedByReorganisation`): it is confirmed
 * with what it paid. False when it is no longer closed.
 */
export function confirmClosed(db: Queryable, id: string, outcome: Omit<Confirmation, keyof Held>): Promise<boolean> {
  return confirmWhere(db, id, and(eq(settlementTable.id, id), closedByReorganisation), outcome)
}

function confirmWhere(
  db: Queryable,
  id: string,
  where: SQL | undefined,
  { items, userOpHash, ...outcome }: Omit<Confirmation, keyof Held>,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const rows = await updateOf(tx)
      .set({
        ...outcome,
        // A transaction paid: no UserOperation is the outcome.
        ...(userOpHash === null ? newest(null) : { userOpHash }),
        state: 'confirmed',
        ...noFailure,
        writtenOffAt: null,
        nextAttemptAt: null,
        ...released,
        updatedAt: sql`now()`,
      })
      .where(where)
      .returning({ id: settlementTable.id })
    if (rows.length === 0) return false
    for (const { payee, paid, skippedReason = null } of items) {
      await tx
        .update(settlementItemTable)
        .set({ paid, skippedReason })
        .where(and(eq(settlementItemTable.settlementId, id), eq(settlementItemTable.payee, payee)))
    }
    return true
  })
}

/** `reason`: what to do about it; `errorCode` and `errorMessage`: what exactly happened. */
export type Failure = Held & { reason: FailureReason; errorCode: string; errorMessage: string }

/** The attempt failed; the next is due at `nextAttemptAt`. Counts the attempt. */
export function markRetry(
  db: Queryable,
  { id, owner, nextAttemptAt, ...failure }: Failure & { nextAttemptAt: Date },
): Promise<boolean> {
  return change(db, { id, owner }, { state: 'failed', ...failureOf(failure), ...counted, nextAttemptAt, ...released })
}

/**
 * It cannot be paid for now: it waits, and counts no attempt. Due again at `nextAttemptAt`, or when the mirror shows that a
 * block after `lookedBlock` raised what can be paid.
 */
export function markUnpayable(
  db: Queryable,
  { id, owner, nextAttemptAt, lookedBlock, ...failure }: Failure & { nextAttemptAt: Date; lookedBlock: bigint },
): Promise<boolean> {
  const waits = sql`${settlementTable.waits} + 1`
  return change(
    db,
    { id, owner },
    { state: 'failed', ...failureOf(failure), waits, lookedBlock, nextAttemptAt, ...released },
  )
}

/** Gave up: no further attempt until an operator says so. Counts the attempt. */
export function markDead(db: Queryable, { id, owner, ...failure }: Failure): Promise<boolean> {
  return change(
    db,
    { id, owner },
    { state: 'dead', ...failureOf(failure), ...counted, nextAttemptAt: null, ...released },
  )
}

/** Makes a dead settlement due again, with its attempts counted from zero. False when it is not dead. */
export async function retryDeadSettlement(db: Queryable, id: string): Promise<boolean> {
  try {
    const rows = await db
      .update(settlementTable)
      .set({ state: 'failed', attempts: 0, waits: 0, nextAttemptAt: null, updatedAt: sql`now()` })
      .where(isDead(id))
      .returning({ id: settlementTable.id })
    return rows.length === 1
  } catch (error) {
    // Written off in the meantime, and another one is open.
    if (isUniqueViolation(error, 'settlement_one_open')) return false
    throw error
  }
}

/** Lets the grant settle anew without this one. False when it is not dead, or was written off before. */
export async function writeOffSettlement(db: Queryable, id: string): Promise<boolean> {
  const rows = await db
    .update(settlementTable)
    .set({ writtenOffAt: sql`now()`, updatedAt: sql`now()` })
    .where(isDead(id))
    .returning({ id: settlementTable.id })
  return rows.length === 1
}

const released = { leaseOwner: null, leaseUntil: null }

function isDead(id: string) {
  return and(eq(settlementTable.id, id), eq(settlementTable.state, 'dead'), isNull(settlementTable.writtenOffAt))
}

const counted = { attempts: sql`${settlementTable.attempts} + 1`, waits: 0 }
const noFailure = { failureReason: null, errorCode: null, errorMessage: null, waits: 0 }

function failureOf({ reason, errorCode, errorMessage }: Omit<Failure, keyof Held>) {
  return { failureReason: reason, errorCode, errorMessage: errorMessage.slice(0, 2_000) }
}

type SettlementChange = Parameters<ReturnType<typeof updateOf>['set']>[0]

function updateOf(db: Queryable) {
  return db.update(settlementTable)
}

async function change(db: Queryable, { id, owner }: Held, values: SettlementChange): Promise<boolean> {
  const rows = await updateOf(db)
    .set({ ...values, updatedAt: sql`now()` })
    .where(heldBy(id, owner))
    .returning({ id: settlementTable.id })
  return rows.length === 1
}
