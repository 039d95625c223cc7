import { type Address, BaseError, type PricedRoute, type Pricing } from '@protocolbanks/stream-protocol'
import { and, asc, desc, eq, lt, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { type NamedSpendingLimits, type SpendingLimits, toSpendingLimits } from '../limits/spendingLimits.ts'
import { type MerchantCredit, toMerchantCredit } from '../merchants/credit.ts'
import { merchantCreditTable, merchantTable } from '../merchants/table.ts'
import { newId } from '../newId.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import { fromPricingColumn, fromRoutesColumn, toPricingColumn, toRoutesColumn } from './pricingColumns.ts'
import { refuseTaken } from './serviceTaken.ts'
import { serviceTable } from './table.ts'

/** One priced API of a merchant, with what one grant may spend at it. Amounts in the token's base units. */
export type Service = NamedSpendingLimits & {
  /** `svc_` and a sortable id. */
  id: string
  merchantId: string
  /** Unique among the merchant's. */
  name: string
  /** Where the gateway serves it, e.g. `/weather`; unique; no slash at the end. */
  pathPrefix: string
  /** Base URL behind the proxy; undefined when the merchant's own process serves it, with the middleware in front. */
  upstream: string | undefined
  /** The operator named the upstream: it may be in a private network. What a merchant changes is not trusted any more. */
  upstreamTrusted: boolean
  /** Of a call; where it is priced by use, the most that a call or a segment of a stream holds. */
  price: bigint
  /** What a call costs by x402's `exact`; undefined: it is not taken. */
  exactPrice: bigint | undefined
  pricing: Pricing
  /** Other prices for some requests: the first that a request belongs to. */
  routes: PricedRoute[]
  /** How long a stream whose voucher is used up waits for the next. */
  voucherGraceMs: number
  token: Address
  /** What a grant has to owe for a settlement. */
  threshold: bigint
  /** How old the oldest unsettled charge may become. */
  maxAgeSeconds: number
  upstreamTimeoutMs: number
  /** Disabled: the gateway does not serve it. */
  enabled: boolean
  /** `file`: what it is comes from the gateways' services file, and nothing else changes it. */
  managedBy: 'api' | 'file'
  createdAt: Date
  updatedAt: Date
}

export type NewService = SpendingLimits & {
  merchantId: string
  name: string
  pathPrefix: string
  upstream?: string | undefined
  /** Never true as a tenant. */
  upstreamTrusted?: boolean | undefined
  price: bigint
  exactPrice?: bigint | undefined
  /** By the call by default. */
  pricing?: Pricing | undefined
  /** At most 100; none by default. */
  routes?: readonly PricedRoute[] | undefined
  /** 10,000 by default. */
  voucherGraceMs?: number | undefined
  token: Address
  /** 10,000,000 by default: 10 USDC. */
  threshold?: bigint | undefined
  /** One day by default. */
  maxAgeSeconds?: number | undefined
  /** 30,000 by default. */
  upstreamTimeoutMs?: number | undefined
  enabled?: boolean | undefined
}

/** Undefined leaves a field as it is; null takes an optional one away. */
export type ServiceChange = { [limit in keyof SpendingLimits]?: SpendingLimits[limit] | null } & {
  name?: string | undefined
  pathPrefix?: string | undefined
  upstream?: string | null | undefined
  /** As a tenant it stays as it is, and becomes false with another upstream. */
  upstreamTrusted?: boolean | undefined
  price?: bigint | undefined
  exactPrice?: bigint | null | undefined
  pricing?: Pricing | undefined
  routes?: readonly PricedRoute[] | undefined
  voucherGraceMs?: number | undefined
  token?: Address | undefined
  threshold?: bigint | undefined
  maxAgeSeconds?: number | undefined
  upstreamTimeoutMs?: number | undefined
  enabled?: boolean | undefined
}

/** @throws ServiceTakenError when the path or the merchant's name for it is in use. */
export async function createService(db: Queryable, service: NewService): Promise<Service> {
  const [row] = await refuseTaken(
    service,
    db
      .insert(serviceTable)
      .values({ ...service, ...toColumns(service), id: newId('svc') })
      .returning(),
  )
  if (!row) throw new Error('Postgres returned no row for an insert.')
  return toService(row)
}

/** Undefined when there is no such service (of this tenant). @throws ServiceTakenError, ServiceManagedError */
export async function updateService(db: Queryable, id: string, change: ServiceChange): Promise<Service | undefined> {
  const [row] = await refuseTaken(
    change,
    db
      .update(serviceTable)
      .set({ ...change, ...toColumns(change), updatedAt: sql`now()` })
      .where(and(eq(serviceTable.id, id), eq(serviceTable.managedBy, 'api')))
      .returning(),
  )
  if (row) return toService(row)
  if (await getService(db, id)) throw new ServiceManagedError(id)
  return undefined
}

export async function getService(db: Queryable, id: string): Promise<Service | undefined> {
  const [row] = await db.select().from(serviceTable).where(eq(serviceTable.id, id))
  return row && toService(row)
}

/** As a tenant: their own. As the service: everybody's. */
export async function listServices(db: Queryable, page: PageRequest = {}): Promise<Page<Service>> {
  const limit = limitOf(page)
  const rows = await db
    .select()
    .from(serviceTable)
    .where(page.cursor === undefined ? undefined : lt(serviceTable.id, page.cursor))
    .orderBy(desc(serviceTable.id))
    .limit(limit + 1)
  return toPage(rows.map(toService), limit, (last) => last.id)
}

/** A gateway keeps all services in memory; more than this need another way to find them. */
export const maxServices = 10_000

/** Every enabled service with where its merchant is paid and what is served on credit, for the gateway's memory. */
export async function listAllServices(
  db: Queryable,
): Promise<(Service & { payee: Address; credit: MerchantCredit })[]> {
  const rows = await db
    .select({ service: serviceTable, payee: merchantTable.payee, credit: merchantCreditTable })
    .from(serviceTable)
    .innerJoin(merchantTable, eq(merchantTable.id, serviceTable.merchantId))
    .leftJoin(merchantCreditTable, eq(merchantCreditTable.merchantId, serviceTable.merchantId))
    .where(eq(serviceTable.enabled, true))
    .orderBy(asc(serviceTable.id))
    .limit(maxServices)
  return rows.map(({ service, payee, credit }) => ({ ...toService(service), payee, credit: toMerchantCredit(credit) }))
}

function toColumns({ pricing, routes }: Pick<ServiceChange, 'pricing' | 'routes'>) {
  return { pricing: pricing && toPricingColumn(pricing), routes: routes && toRoutesColumn(routes) }
}

function toService(row: typeof serviceTable.$inferSelect): Service {
  return {
    ...row,
    upstream: row.upstream ?? undefined,
    exactPrice: row.exactPrice ?? undefined,
    pricing: fromPricingColumn(row.pricing),
    routes: fromRoutesColumn(row.routes),
    ...toSpendingLimits(row),
  }
}

export class ServiceManagedError extends BaseError {
  override readonly code = 'service.managed'
  constructor(id: string) {
    super('The service is managed by the services file of the gateways.', {
      metaMessages: [`Service: ${id}`, 'Change it there.'],
      docsPath: '/errors#service-managed',
    })
  }
}
