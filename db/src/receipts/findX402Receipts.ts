import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, gte, lt, or, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { decodeCursor, encodeCursor, limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { x402PaymentTable } from '../x402Payments/table.ts'
import type { X402Payment } from '../x402Payments/x402Payment.ts'
import { maxReceipts } from './findReceipts.ts'

/**
 * A call that was paid by one EIP-3009 authorisation, x402's `exact` or MPP's `evm/charge`: the money has moved. Amount in base
 * units.
 */
export type X402Receipt = Pick<
  X402Payment,
  'id' | 'merchantId' | 'serviceId' | 'token' | 'payer' | 'payee' | 'amount' | 'paymentIdentifier'
> & { txHash: Hex; settledAt: Date }

const { id, merchantId, serviceId, token, payer, payee, amount, paymentIdentifier, txHash, updatedAt } =
  x402PaymentTable
const columns = { id, merchantId, serviceId, token, payer, payee, amount, paymentIdentifier, txHash, updatedAt }

/** As the indexes have it. What a facilitator settled was answered by somebody else, whose receipts are not ours. */
const isPaid = sql`${x402PaymentTable.state} = 'settled' and ${x402PaymentTable.origin} = 'gateway'`

/**
 * The payments that a request id names, newest first: the name that the payer gave the request, else the payment's id, or the
 * hash of the transaction. As a tenant or an owner: their own.
 */
export async function findX402Receipts(
  db: Queryable,
  of: { requestId: string; payee?: Address | undefined },
): Promise<X402Receipt[]> {
  const names = [eq(paymentIdentifier, of.requestId), eq(id, of.requestId)]
  if (/^0x[0-9a-f]{64}$/i.test(of.requestId)) names.push(eq(txHash, of.requestId.toLowerCase() as Hex))
  const rows = await db
    .select(columns)
    .from(x402PaymentTable)
    .where(and(isPaid, or(...names), of.payee === undefined ? undefined : eq(payee, of.payee)))
    .orderBy(desc(updatedAt), desc(id))
    .limit(maxReceipts)
  return rows.map(toReceipt)
}

/** Newest first. As a tenant or an owner: their own. */
export async function listX402Receipts(
  db: Queryable,
  filter: PageRequest & {
    serviceId?: string | undefined
    merchantId?: string | undefined
    /** Settled in [`from`, `to`). */
    from?: Date | undefined
    to?: Date | undefined
  } = {},
): Promise<Page<X402Receipt>> {
  const limit = limitOf(filter)
  const rows = await db
    .select(columns)
    .from(x402PaymentTable)
    .where(
      and(
        isPaid,
        filter.serviceId === undefined ? undefined : eq(serviceId, filter.serviceId),
        filter.merchantId === undefined ? undefined : eq(merchantId, filter.merchantId),
        filter.from === undefined ? undefined : gte(updatedAt, filter.from),
        filter.to === undefined ? undefined : lt(updatedAt, filter.to),
        filter.cursor === undefined ? undefined : before(filter.cursor),
      ),
    )
    .orderBy(desc(updatedAt), desc(id))
    .limit(limit + 1)
  return toPage(rows.map(toReceipt), limit, (last) => encodeCursor({ at: last.settledAt, key: last.id }))
}

function toReceipt({ txHash: hash, updatedAt: settledAt, ...row }: Row): X402Receipt {
  if (hash === null) throw new Error(`The settled payment ${row.id} has no transaction.`)
  return { ...row, txHash: hash, settledAt }
}

type Row = Pick<X402Payment, keyof typeof columns>

function before(cursor: string): SQL {
  const { at, key } = decodeCursor(cursor)
  return sql`(${updatedAt}, ${id}) < (${at.toISOString()}::timestamptz, ${key})`
}
