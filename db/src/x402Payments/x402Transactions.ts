import type { Address } from '@protocolbanks/stream-protocol'
import { and, asc, eq, gte, inArray, lt, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { SignedX402Transaction } from './settleX402Payment.ts'
import { x402PaymentTable, x402TransactionTable } from './table.ts'
import type { X402Payment, X402Transaction } from './x402Payment.ts'

/** Of a payment, oldest first. */
export function listX402Transactions(db: Queryable, paymentId: string): Promise<X402Transaction[]> {
  return db
    .select()
    .from(x402TransactionTable)
    .where(eq(x402TransactionTable.paymentId, paymentId))
    .orderBy(asc(x402TransactionTable.id))
    .limit(32)
}

/** The sender's that may still have to be included: from a nonce on, in their order. */
export function listOpenX402Transactions(
  db: Queryable,
  { sender, fromNonce, limit }: { sender: Address; fromNonce: number; limit: number },
): Promise<X402Transaction[]> {
  return db
    .select()
    .from(x402TransactionTable)
    .where(and(eq(x402TransactionTable.sender, sender), gte(x402TransactionTable.nonce, fromNonce)))
    .orderBy(asc(x402TransactionTable.nonce))
    .limit(limit)
}

/**
 * Remembers a version with higher fees before it is sent. False when somebody else has replaced it meanwhile.
 *
 * @param versions how many there were when this one was signed
 */
export async function replaceX402Transaction(
  db: Queryable,
  { id, versions, rawTransaction, hash, now }: SignedX402Transaction & { id: string; versions: number; now: Date },
): Promise<boolean> {
  const rows = await db
    .update(x402TransactionTable)
    .set({
      rawTransaction,
      hashes: sql`array_append(${x402TransactionTable.hashes}, ${hash.toLowerCase()}::text)`,
      signedAt: now,
    })
    .where(and(eq(x402TransactionTable.id, id), sql`cardinality(${x402TransactionTable.hashes}) = ${versions}`))
    .returning({ id: x402TransactionTable.id })
  return rows.length === 1
}

/** Takes settlements whose process is gone, or has given up waiting; each goes to one of those who ask. */
export async function takeOverX402Settlements(
  db: Queryable,
  { owner, leaseMs, now, limit }: { owner: string; leaseMs: number; now: Date; limit: number },
): Promise<X402Payment[]> {
  const left = db
    .select({ id: x402PaymentTable.id })
    .from(x402PaymentTable)
    .where(and(eq(x402PaymentTable.state, 'settling'), lt(x402PaymentTable.leaseUntil, now)))
    .orderBy(asc(x402PaymentTable.leaseUntil))
    .limit(limit)
    .for('update', { skipLocked: true })
  return db
    .update(x402PaymentTable)
    .set({ leaseOwner: owner, leaseUntil: new Date(now.getTime() + leaseMs) })
    .where(inArray(x402PaymentTable.id, left))
    .returning()
}
