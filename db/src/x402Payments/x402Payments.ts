import type { Address } from '@protocolbanks/stream-protocol'
import { and, asc, desc, eq, isNull, lt, or, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { x402PaymentTable, x402PaymentTransitionTable } from './table.ts'
import type { HeldX402Payment, X402Nonce, X402Payment, X402PaymentTransition } from './x402Payment.ts'

export async function findX402Payment(
  db: Queryable,
  { token, payer, nonce }: X402Nonce,
): Promise<X402Payment | undefined> {
  const [row] = await db
    .select()
    .from(x402PaymentTable)
    .where(and(eq(x402PaymentTable.token, token), eq(x402PaymentTable.payer, payer), eq(x402PaymentTable.nonce, nonce)))
  return row
}

/** A payer's payment to a payee by the name that the payer gave its request. */
export async function findX402PaymentByIdentifier(
  db: Queryable,
  { payee, payer, identifier }: { payee: Address; payer: Address; identifier: string },
): Promise<X402Payment | undefined> {
  const [row] = await db
    .select()
    .from(x402PaymentTable)
    .where(
      and(
        eq(x402PaymentTable.payee, payee),
        eq(x402PaymentTable.payer, payer),
        eq(x402PaymentTable.paymentIdentifier, identifier),
      ),
    )
  return row
}

/** The process lives: nobody takes over what it is at. */
export async function renewX402Leases(db: Queryable, owner: string, until: Date): Promise<void> {
  await db.update(x402PaymentTable).set({ leaseUntil: until }).where(eq(x402PaymentTable.leaseOwner, owner))
}

/** The call was not served: nothing is sent, and the authorisation may be used again. */
export async function releaseX402Payment(
  db: Queryable,
  { id, owner, reason }: HeldX402Payment & { reason: string },
): Promise<boolean> {
  const rows = await db
    .update(x402PaymentTable)
    .set({ state: 'released', reason, leaseOwner: null, leaseUntil: null, updatedAt: sql`now()` })
    .where(
      and(eq(x402PaymentTable.id, id), eq(x402PaymentTable.leaseOwner, owner), eq(x402PaymentTable.state, 'verified')),
    )
    .returning({ id: x402PaymentTable.id })
  return rows.length === 1
}

/** Its answer has left. */
export async function markX402Answered(db: Queryable, id: string, now: Date): Promise<void> {
  await db
    .update(x402PaymentTable)
    .set({ answeredAt: now, leaseOwner: null, leaseUntil: null })
    .where(and(eq(x402PaymentTable.id, id), eq(x402PaymentTable.state, 'settled')))
}

/** Takes a payment that was settled and never answered, to serve its call once more; one of all who ask is given it. */
export async function resumeX402Payment(
  db: Queryable,
  { id, owner, leaseMs, now }: HeldX402Payment & { leaseMs: number; now: Date },
): Promise<boolean> {
  const rows = await db
    .update(x402PaymentTable)
    .set({ leaseOwner: owner, leaseUntil: new Date(now.getTime() + leaseMs) })
    .where(
      and(
        eq(x402PaymentTable.id, id),
        eq(x402PaymentTable.state, 'settled'),
        isNull(x402PaymentTable.answeredAt),
        or(isNull(x402PaymentTable.leaseUntil), lt(x402PaymentTable.leaseUntil, now)),
      ),
    )
    .returning({ id: x402PaymentTable.id })
  return rows.length === 1
}

/** The lease ends at once: whoever is asked next may serve the call, or find out what became of its settlement. */
export async function dropX402Lease(db: Queryable, { id, owner }: HeldX402Payment, now: Date): Promise<void> {
  await db
    .update(x402PaymentTable)
    // Under another name: the owner lives, and renews what it has.
    .set({ leaseOwner: `${owner}/left`, leaseUntil: new Date(now.getTime() - 1) })
    .where(and(eq(x402PaymentTable.id, id), eq(x402PaymentTable.leaseOwner, owner)))
}

/** Newest first. As a tenant: their own. */
export async function listX402Payments(db: Queryable, page: PageRequest = {}): Promise<Page<X402Payment>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(x402PaymentTable)
    .where(page.cursor === undefined ? undefined : lt(x402PaymentTable.id, page.cursor))
    .orderBy(desc(x402PaymentTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

/** Every state a payment was in, oldest first; at most 100. */
export async function listX402Transitions(db: Queryable, paymentId: string): Promise<X402PaymentTransition[]> {
  return db
    .select()
    .from(x402PaymentTransitionTable)
    .where(eq(x402PaymentTransitionTable.paymentId, paymentId))
    .orderBy(asc(x402PaymentTransitionTable.id))
    .limit(100)
}
