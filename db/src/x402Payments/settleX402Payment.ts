import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, eq, gt, inArray, sql } from 'drizzle-orm'
import type { Db, Queryable, Tx } from '../createDb.ts'
import { newId } from '../newId.ts'
import { x402PaymentTable, x402RelayerTable, x402TransactionTable } from './table.ts'
import type { HeldX402Payment, X402Outcome, X402Transaction } from './x402Payment.ts'

/** A transaction as it is sent. */
export type SignedX402Transaction = { rawTransaction: Hex; hash: Hex }

export type X402Send = HeldX402Payment & {
  purpose: X402Transaction['purpose']
  sender: Address
  now: Date
  /** What the chain says the sender's next nonce is: for the first transaction, or when others used the key. */
  chainNonce: number
  /** Must not wait for anything: every other transaction of the sender waits for it. */
  sign(nonce: number): Promise<SignedX402Transaction>
}

/**
 * The call was served: reserves the sender's next nonce and records the transaction under it, before it is sent. From
 * here on the money may move. Undefined when the lease is no longer ours.
 */
export function recordX402Transaction(db: Db, send: X402Send): Promise<X402Transaction | undefined> {
  const { id, owner, sender, purpose, now } = send
  return db.transaction(async (tx) => {
    const held = await tx
      .update(x402PaymentTable)
      .set({ state: 'settling', updatedAt: sql`now()` })
      .where(
        and(
          eq(x402PaymentTable.id, id),
          eq(x402PaymentTable.leaseOwner, owner),
          gt(x402PaymentTable.leaseUntil, now),
          inArray(x402PaymentTable.state, ['verified', 'settling']),
        ),
      )
      .returning({ id: x402PaymentTable.id })
    if (held.length !== 1) return undefined
    const nonce = await reserveNonce(tx, sender, send.chainNonce)
    const { rawTransaction, hash } = await send.sign(nonce)
    const [transaction] = await tx
      .insert(x402TransactionTable)
      .values({
        id: newId('xtx'),
        paymentId: id,
        purpose,
        sender,
        nonce,
        rawTransaction,
        hashes: [hash],
        signedAt: now,
      })
      .returning()
    return transaction
  })
}

async function reserveNonce(tx: Tx, sender: Address, chainNonce: number): Promise<number> {
  const [row] = await tx
    .insert(x402RelayerTable)
    .values({ sender, nextNonce: chainNonce + 1 })
    .onConflictDoUpdate({
      target: x402RelayerTable.sender,
      set: { nextNonce: sql`greatest(${x402RelayerTable.nextNonce}, ${chainNonce}) + 1` },
    })
    .returning()
  if (!row) throw new Error('Postgres returned no row for an insert.')
  return row.nextNonce - 1
}

/**
 * Ends a settlement and its transactions together. False when it has an outcome already.
 *
 * @param included which transaction of ours was included, and what it cost
 */
export function closeX402Settlement(
  db: Db,
  { id, outcome, included }: { id: string; outcome: X402Outcome; included?: IncludedX402Transaction | undefined },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const result = outcome.state === 'settled' ? { ...outcome, reason: null } : outcome
    const rows = await tx
      .update(x402PaymentTable)
      .set({ ...result, updatedAt: sql`now()`, ...(outcome.state === 'failed' && noLease) })
      .where(and(eq(x402PaymentTable.id, id), eq(x402PaymentTable.state, 'settling')))
      .returning({ id: x402PaymentTable.id })
    if (rows.length !== 1) return false
    if (included) await markX402TransactionIncluded(tx, included)
    return true
  })
}

const noLease = { leaseOwner: null, leaseUntil: null }

export type IncludedX402Transaction = { id: string; txHash: Hex; gasUsed: bigint; gasCostWei: bigint }

export async function markX402TransactionIncluded(
  db: Queryable,
  { id, ...included }: IncludedX402Transaction,
): Promise<void> {
  await db
    .update(x402TransactionTable)
    .set({ state: 'included', ...included })
    .where(eq(x402TransactionTable.id, id))
}

/** Another transaction has its nonce: it never will be included. */
export async function markX402TransactionLost(db: Queryable, id: string): Promise<void> {
  await db
    .update(x402TransactionTable)
    .set({ state: 'lost' })
    .where(and(eq(x402TransactionTable.id, id), eq(x402TransactionTable.state, 'open')))
}
