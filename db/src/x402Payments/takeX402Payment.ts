import { and, eq, inArray, lt, ne, or, sql } from 'drizzle-orm'
import type { Db } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { newId } from '../newId.ts'
import { x402PaymentTable } from './table.ts'
import type { NewX402Payment, X402Payment } from './x402Payment.ts'

/**
 * Takes an authorisation for one request: of all who ask, over any number of gateways, one is given it. So it is again
 * when it was released, has failed, or its process died before anything was sent.
 *
 * @returns undefined when somebody else has it, or has its payment identifier
 */
export async function takeX402Payment(
  db: Db,
  payment: NewX402Payment,
  { owner, leaseMs, now }: { owner: string; leaseMs: number; now: Date },
): Promise<X402Payment | undefined> {
  const { nonce, payer, payee, token, paymentIdentifier } = payment
  const taken = {
    ...payment,
    state: 'verified',
    reason: null,
    answeredAt: null,
    leaseOwner: owner,
    leaseUntil: new Date(now.getTime() + leaseMs),
  } as const
  const isDead = and(eq(x402PaymentTable.state, 'verified'), lt(x402PaymentTable.leaseUntil, now))
  const isFree = sql`(${or(inArray(x402PaymentTable.state, ['released', 'failed']), isDead)})`
  try {
    return await db.transaction(async (tx) => {
      // A client that was not served may come back with the same name and another authorisation.
      if (paymentIdentifier !== null) {
        const { payee: ofPayee, payer: ofPayer, paymentIdentifier: name } = x402PaymentTable
        const sameName = and(eq(ofPayee, payee), eq(ofPayer, payer), eq(name, paymentIdentifier))
        await tx
          .update(x402PaymentTable)
          .set({ paymentIdentifier: null })
          .where(and(sameName, or(ne(x402PaymentTable.nonce, nonce), ne(x402PaymentTable.token, token)), isFree))
      }
      const [row] = await tx
        .insert(x402PaymentTable)
        .values({ ...taken, id: newId('xpm') })
        .onConflictDoUpdate({
          target: [x402PaymentTable.token, x402PaymentTable.payer, x402PaymentTable.nonce],
          set: { ...taken, updatedAt: sql`now()` },
          setWhere: isFree,
        })
        .returning()
      return row
    })
  } catch (error) {
    if (isUniqueViolation(error, 'x402_payment_identifier_unique')) return undefined
    throw error
  }
}
