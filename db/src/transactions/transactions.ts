import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, desc, eq, gte, inArray, lt, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { takenBack } from '../settlements/outcomes.ts'
import { openStates } from '../settlements/settlement.ts'
import { settlementTable } from '../settlements/table.ts'
import type { SettlementTransaction } from './settlementTransaction.ts'
import { settlementTransactionMemberTable, settlementTransactionTable } from './table.ts'

/** Which transaction, and who holds its lease. Every function that takes it answers false when that is no longer so. */
export type HeldTransaction = { id: string; owner: string }

/**
 * Reserves the sender for these settlements, whose leases `owner` holds, in the order of the call data. Undefined when
 * another worker has a transaction open, or one of the settlements is no longer ours.
 */
export async function openTransaction(
  db: Queryable,
  {
    sender,
    settlementIds,
    owner,
    leaseMs,
    now,
  }: { sender: Address; settlementIds: readonly string[]; owner: string; leaseMs: number; now: Date },
): Promise<SettlementTransaction | undefined> {
  const ids = [...settlementIds]
  const lease = { leaseOwner: owner, leaseUntil: new Date(now.getTime() + leaseMs) }
  try {
    return await db.transaction(async (tx) => {
      const held = await tx
        .update(settlementTable)
        .set(lease)
        .where(and(inArray(settlementTable.id, ids), eq(settlementTable.leaseOwner, owner), isOpenSettlement))
        .returning({ id: settlementTable.id })
      if (held.length !== ids.length) return undefined
      const [transaction] = await tx
        .insert(settlementTransactionTable)
        .values({ id: newId('stx'), sender, state: 'open', ...lease })
        .returning()
      if (!transaction) return undefined
      await tx
        .insert(settlementTransactionMemberTable)
        .values(ids.map((settlementId, position) => ({ transactionId: transaction.id, settlementId, position })))
      return transaction
    })
  } catch (error) {
    if (isUniqueViolation(error, 'settlement_transaction_one_open')) return undefined
    throw error
  }
}

/** Remembers a signed transaction before it is sent, so that a crash after sending loses nothing. Its settlements are intended. */
export function recordTransaction(
  db: Queryable,
  { id, owner, nonce, rawTransaction, hash }: HeldTransaction & { nonce: number; rawTransaction: Hex; hash: Hex },
): Promise<boolean> {
  const version = {
    nonce,
    rawTransaction,
    hashes: sql`array_append(${settlementTransactionTable.hashes}, ${hash.toLowerCase()}::text)`,
    sentAt: null,
  }
  return db.transaction(async (tx) => {
    if (!(await change(tx, { id, owner }, version))) return false
    await changeMembers(tx, { id, owner }, { state: 'intended', waits: 0 })
    return true
  })
}

/** A node took the newest. Its settlements are submitted. Repeating it keeps the first moment. */
export function markTransactionSent(
  db: Queryable,
  { id, owner, now }: HeldTransaction & { now: Date },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const sentAt = sql`coalesce(${settlementTransactionTable.sentAt}, ${now.toISOString()}::timestamptz)`
    if (!(await change(tx, { id, owner }, { sentAt }))) return false
    const noFailure = { failureReason: null, errorCode: null, errorMessage: null }
    await changeMembers(tx, { id, owner }, { state: 'submitted', ...noFailure })
    return true
  })
}

/** One of its versions is in a block, which is not deep enough yet; `undefined`: no longer. So are its settlements. */
export function markTransactionIncluded(
  db: Queryable,
  { id, owner, block }: HeldTransaction & { block: { txHash: Hex; blockNumber: bigint } | undefined },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await change(tx, { id, owner }, {}))) return false
    await changeMembers(
      tx,
      { id, owner },
      block ? { state: 'included', ...block } : { state: 'submitted', ...takenBack },
    )
    return true
  })
}

/** Of the transaction and of its settlements that are still ours. */
export function renewTransactionLease(
  db: Queryable,
  { id, owner, until }: HeldTransaction & { until: Date },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await change(tx, { id, owner }, { leaseUntil: until }))) return false
    await changeMembers(tx, { id, owner }, { leaseUntil: until })
    return true
  })
}

/**
 * Gives the transaction back without an outcome: whoever takes it up goes on with it. Its settlements are due by
 * themselves only at `nextAttemptAt`, when nobody did.
 */
export function releaseTransaction(
  db: Queryable,
  { id, owner, nextAttemptAt }: HeldTransaction & { nextAttemptAt: Date },
): Promise<boolean> {
  const released = { leaseOwner: null, leaseUntil: null }
  return db.transaction(async (tx) => {
    if (!(await change(tx, { id, owner }, released))) return false
    await changeMembers(tx, { id, owner }, { ...released, nextAttemptAt })
    return true
  })
}

export type TransactionEnd =
  | { state: 'confirmed'; txHash: Hex; blockNumber: bigint; gasUsed: bigint; gasCostWei: bigint }
  | { state: 'lost' }

/**
 * Ends the transaction together with what `write` writes about its settlements: both or nothing. False, and nothing is
 * written, when it is no longer ours.
 */
export function closeTransaction(
  db: Queryable,
  { id, owner, end }: HeldTransaction & { end: TransactionEnd },
  write: (tx: Tx) => Promise<void>,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await change(tx, { id, owner }, { ...end, leaseOwner: null, leaseUntil: null }))) return false
    await write(tx)
    return true
  })
}

/** The newest signed version of each of the sender's transactions with these nonces, in their order; at most 32. */
export async function listRawTransactions(
  db: Queryable,
  { sender, from, below }: { sender: Address; from: number; below: number },
): Promise<Hex[]> {
  const { nonce, rawTransaction } = settlementTransactionTable
  const rows = await db
    .select({ rawTransaction })
    .from(settlementTransactionTable)
    .where(and(eq(settlementTransactionTable.sender, sender), gte(nonce, from), lt(nonce, below)))
    .orderBy(asc(nonce), asc(settlementTransactionTable.id))
    .limit(32)
  return rows.flatMap((row) => row.rawTransaction ?? [])
}

/** Newest first. */
export async function listTransactions(
  db: Queryable,
  filter: PageRequest & { sender?: Address | undefined } = {},
): Promise<Page<SettlementTransaction>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(settlementTransactionTable)
    .where(
      and(
        filter.sender === undefined ? undefined : eq(settlementTransactionTable.sender, filter.sender),
        filter.cursor === undefined ? undefined : lt(settlementTransactionTable.id, filter.cursor),
      ),
    )
    .orderBy(desc(settlementTransactionTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

const isOpenSettlement = inArray(settlementTable.state, [...openStates])

type TransactionChange = Parameters<ReturnType<typeof updateOf>['set']>[0]
type SettlementChange = Parameters<ReturnType<typeof updateOfSettlement>['set']>[0]

function updateOf(db: Queryable) {
  return db.update(settlementTransactionTable)
}

function updateOfSettlement(db: Queryable) {
  return db.update(settlementTable)
}

async function change(db: Queryable, { id, owner }: HeldTransaction, values: TransactionChange): Promise<boolean> {
  const rows = await updateOf(db)
    .set({ ...values, updatedAt: sql`now()` })
    .where(
      and(
        eq(settlementTransactionTable.id, id),
        eq(settlementTransactionTable.leaseOwner, owner),
        eq(settlementTransactionTable.state, 'open'),
      ),
    )
    .returning({ id: settlementTransactionTable.id })
  return rows.length === 1
}

/** Those that are still ours; another worker may have taken one over. */
async function changeMembers(db: Queryable, { id, owner }: HeldTransaction, values: SettlementChange): Promise<void> {
  const members = db
    .select({ id: settlementTransactionMemberTable.settlementId })
    .from(settlementTransactionMemberTable)
    .where(eq(settlementTransactionMemberTable.transactionId, id))
  await updateOfSettlement(db)
    .set(values)
    .where(and(inArray(settlementTable.id, members), eq(settlementTable.leaseOwner, owner), isOpenSettlement))
}
