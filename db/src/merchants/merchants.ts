import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import { and, desc, eq, isNull, lt } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { isUniqueViolation } from '../errors.ts'
import { channelTable } from '../grants/table.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { merchantTable } from './table.ts'

/** An API seller. */
export type Merchant = {
  /** `mer_` and a sortable id. */
  id: string
  name: string
  /** Where they are paid; unique. */
  payee: Address
  /** What sponsored gas may cost per UTC day, at most. */
  gasBudgetWeiPerDay: bigint
  createdAt: Date
}

/** 0.1 of the chain's coin. */
export const defaultGasBudgetWeiPerDay = 10n ** 17n

/**
 * Registers a merchant. Channels that the chain showed before, paid to an address that was nobody's, become theirs.
 *
 * @throws PayeeTakenError
 */
export async function createMerchant(
  db: Queryable,
  merchant: { name: string; payee: Address; gasBudgetWeiPerDay?: bigint | undefined },
): Promise<Merchant> {
  const { name, payee, gasBudgetWeiPerDay = defaultGasBudgetWeiPerDay } = merchant
  try {
    return await db.transaction(async (tx) => {
      const [created] = await tx
        .insert(merchantTable)
        .values({ id: newId('mer'), name, payee, gasBudgetWeiPerDay })
        .returning()
      if (!created) throw new Error('Postgres returned no row for an insert.')
      await tx
        .update(channelTable)
        .set({ merchantId: created.id })
        .where(and(eq(channelTable.payee, payee), isNull(channelTable.merchantId)))
      return created
    })
  } catch (error) {
    if (isUniqueViolation(error, 'merchant_payee_unique')) throw new PayeeTakenError(payee, error)
    throw error
  }
}

export async function getMerchant(db: Queryable, id: string): Promise<Merchant | undefined> {
  const [merchant] = await db.select().from(merchantTable).where(eq(merchantTable.id, id))
  return merchant
}

export async function getMerchantByPayee(db: Queryable, payee: Address): Promise<Merchant | undefined> {
  const [merchant] = await db.select().from(merchantTable).where(eq(merchantTable.payee, payee))
  return merchant
}

export async function listMerchants(db: Queryable, page: PageRequest = {}): Promise<Page<Merchant>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(merchantTable)
    .where(page.cursor === undefined ? undefined : lt(merchantTable.id, page.cursor))
    .orderBy(desc(merchantTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

export async function setGasBudget(db: Queryable, id: string, gasBudgetWeiPerDay: bigint): Promise<boolean> {
  const rows = await db
    .update(merchantTable)
    .set({ gasBudgetWeiPerDay })
    .where(eq(merchantTable.id, id))
    .returning({ id: merchantTable.id })
  return rows.length === 1
}

export class PayeeTakenError extends BaseError {
  override readonly code = 'merchant.payee_taken'
  constructor(payee: Address, cause: unknown) {
    super('Another merchant is paid at this address.', {
      cause,
      metaMessages: [`Payee: ${payee}`, 'Register the merchant with an address of their own.'],
      docsPath: '/errors#merchant-payee-taken',
    })
  }
}
