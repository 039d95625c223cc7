import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { decodeCursor, encodeCursor, limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { chargeTable } from './table.ts'

/** One row of the journal. Amounts in base units. */
export type Charge = {
  eventId: string
  occurredAt: Date
  grantId: Hex
  payee: Address
  account: Address
  merchantId: string
  serviceId: string
  requestId: string
  fingerprint: string
  amount: bigint
  cumulativeAmount: bigint
  /** Of the request: 32 hex digits. Null: not known. */
  traceId: string | null
  /** Keyed hash of where the call came from: 16 hex digits. Null: not known. */
  client: string | null
  /** Null: before this was kept. */
  journalledAt: Date | null
}

/** Newest first. As a tenant: their own. */
export async function listCharges(
  db: Queryable,
  filter: PageRequest & {
    grantId?: Hex | undefined
    account?: Address | undefined
    serviceId?: string | undefined
    merchantId?: string | undefined
    /** In [`from`, `to`). */
    from?: Date | undefined
    to?: Date | undefined
  } = {},
): Promise<Page<Charge>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(chargeTable)
    .where(
      and(
        filter.grantId === undefined ? undefined : eq(chargeTable.grantId, filter.grantId),
        filter.account === undefined ? undefined : eq(chargeTable.account, filter.account),
        filter.serviceId === undefined ? undefined : eq(chargeTable.serviceId, filter.serviceId),
        filter.merchantId === undefined ? undefined : eq(chargeTable.merchantId, filter.merchantId),
        filter.from === undefined ? undefined : gte(chargeTable.occurredAt, filter.from),
        filter.to === undefined ? undefined : lt(chargeTable.occurredAt, filter.to),
        filter.cursor === undefined ? undefined : before(filter.cursor),
      ),
    )
    .orderBy(desc(chargeTable.occurredAt), desc(chargeTable.eventId))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => encodeCursor({ at: last.occurredAt, key: last.eventId }))
}

/** What was used under a grant, summed from the journal. */
export type GrantUsage = {
  calls: number
  charged: bigint
  services: { serviceId: string; calls: number; charged: bigint }[]
}

/** In [`from`, `to`), or ever. As a tenant: at their services. */
export async function usageOfGrant(
  db: Queryable,
  { grantId, from, to }: { grantId: Hex; from?: Date | undefined; to?: Date | undefined },
): Promise<GrantUsage> {
  const services = await db
    .select({
      serviceId: chargeTable.serviceId,
      calls: sql<number>`count(*)::integer`,
      charged: sql`sum(${chargeTable.amount})`.mapWith(BigInt),
    })
    .from(chargeTable)
    .where(
      and(
        eq(chargeTable.grantId, grantId),
        from === undefined ? undefined : gte(chargeTable.occurredAt, from),
        to === undefined ? undefined : lt(chargeTable.occurredAt, to),
      ),
    )
    .groupBy(chargeTable.serviceId)
    .orderBy(chargeTable.serviceId)
  return {
    calls: services.reduce((sum, { calls }) => sum + calls, 0),
    charged: services.reduce((sum, { charged }) => sum + charged, 0n),
    services,
  }
}

export type RecentRequest = Pick<
  Charge,
  'grantId' | 'payee' | 'requestId' | 'fingerprint' | 'amount' | 'eventId' | 'occurredAt'
>

/** An account that charged more requests than this in the window forgets the oldest. */
export const maxRecentRequests = 100_000

/** The requests charged to an account since then, newest first, for a meter that lost its request ids. */
export function recentRequests(db: Queryable, account: Address, sinceMs: number): Promise<RecentRequest[]> {
  return db
    .select({
      grantId: chargeTable.grantId,
      payee: chargeTable.payee,
      requestId: chargeTable.requestId,
      fingerprint: chargeTable.fingerprint,
      amount: chargeTable.amount,
      eventId: chargeTable.eventId,
      occurredAt: chargeTable.occurredAt,
    })
    .from(chargeTable)
    .where(and(eq(chargeTable.account, account), gte(chargeTable.occurredAt, new Date(sinceMs))))
    .orderBy(desc(chargeTable.occurredAt))
    .limit(maxRecentRequests)
}

function before(cursor: string): SQL {
  const { at, key } = decodeCursor(cursor)
  return sql`(${chargeTable.occurredAt}, ${chargeTable.eventId}) < (${at.toISOString()}::timestamptz, ${key})`
}
