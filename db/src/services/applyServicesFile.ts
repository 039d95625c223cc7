import type { Address } from '@protocolbanks/stream-protocol'
import { eq, getTableColumns, inArray, or, sql } from 'drizzle-orm'
import type { Db, Tx } from '../createDb.ts'
import { createMerchant, getMerchantByPayee } from '../merchants/merchants.ts'
import { newId } from '../newId.ts'
import { planServices, type ServiceColumns } from './planServices.ts'
import { toPricingColumn, toRoutesColumn } from './pricingColumns.ts'
import type { NewService } from './services.ts'
import { refuseTaken } from './serviceTaken.ts'
import { serviceTable } from './table.ts'

/** A merchant with all of their services that the file names; amounts in base units. */
export type FileMerchant = {
  /** Of a merchant that is not known yet. */
  name: string
  /** Who it is. */
  payee: Address
  /** Of a merchant that is not known yet. */
  gasBudgetWeiPerDay?: bigint | undefined
  services: readonly FileService[]
}

export type FileService = Omit<{ [field in keyof NewService]: NewService[field] | null }, 'merchantId' | 'token'> &
  Pick<NewService, 'name' | 'pathPrefix' | 'price'>

export type AppliedServices = { merchants: number; created: number; changed: number; released: number }

/**
 * Makes the services of Postgres those of the file, in one transaction: any number of gateways may do so at once, and what
 * is as it should be is not touched. What a service does not say has its default. A service that the file does not name
 * any more is disabled, and is the API's again.
 *
 * @throws ServiceTakenError when a path belongs to a service that is not the file's
 */
export async function applyServicesFile(
  db: Db,
  { token, merchants }: { token: Address; merchants: readonly FileMerchant[] },
): Promise<AppliedServices> {
  return db.transaction(async (tx) => {
    await tx.execute(sql`select pg_advisory_xact_lock(hashtext('services_file'))`)
    let created = 0
    const wanted: ServiceColumns[] = []
    const ids: string[] = []
    for (const merchant of merchants) {
      let known = await getMerchantByPayee(tx, merchant.payee)
      if (!known) {
        known = await createMerchant(tx, merchant)
        created++
      }
      ids.push(known.id)
      for (const service of merchant.services) wanted.push(toColumns(service, { merchantId: known.id, token }))
    }
    const rows = await tx
      .select()
      .from(serviceTable)
      .where(or(eq(serviceTable.managedBy, 'file'), inArray(serviceTable.merchantId, ids)))
      .for('update')
    const plan = planServices(rows, wanted)
    await release(tx, plan.release)
    // Names and paths may change places.
    for (const { id, columns, from } of plan.change) {
      if (columns.name === from.name && columns.pathPrefix === from.pathPrefix) continue
      await tx.update(serviceTable).set(outOfTheWay(id)).where(eq(serviceTable.id, id))
    }
    for (const { id, columns } of plan.change) {
      const change = { ...columns, updatedAt: sql`now()` }
      await refuseTaken(columns, tx.update(serviceTable).set(change).where(eq(serviceTable.id, id)))
    }
    for (const columns of plan.create) {
      await refuseTaken(columns, tx.insert(serviceTable).values({ ...columns, id: newId('svc') }))
    }
    const { length: changed } = plan.change
    return { merchants: created, created: plan.create.length, changed, released: plan.release.length }
  })
}

/** Its merchant may switch it on again, but not reach what only the operator's file could name. */
async function release(tx: Tx, services: readonly { id: string; isInTheWay: boolean }[]): Promise<void> {
  for (const { id, isInTheWay } of services) {
    const moved = isInTheWay ? { pathPrefix: outOfTheWay(id).pathPrefix } : {}
    await tx
      .update(serviceTable)
      .set({ ...moved, enabled: false, managedBy: 'api', upstreamTrusted: false, updatedAt: sql`now()` })
      .where(eq(serviceTable.id, id))
  }
}

/** A name and a path that nobody else would choose. */
function outOfTheWay(id: string): { name: string; pathPrefix: string } {
  return { name: `.${id}`, pathPrefix: `/.${id}` }
}

const { id: _id, createdAt: _createdAt, updatedAt: _updatedAt, ...ofService } = getTableColumns(serviceTable)
const defaults = Object.fromEntries(Object.entries(ofService).map(([name, column]) => [name, column.default ?? null]))

/** Every column, with its default where the file says nothing. */
function toColumns(
  service: FileService,
  { merchantId, token }: { merchantId: string; token: Address },
): ServiceColumns {
  const { pricing, routes, upstream, ...fields } = service
  const said = Object.entries({
    ...fields,
    // As they come back from Postgres.
    pricing: pricing && json(toPricingColumn(pricing)),
    routes: routes && json(toRoutesColumn(routes)),
  }).filter(([, value]) => value !== undefined && value !== null)
  return {
    ...(defaults as ServiceColumns),
    ...Object.fromEntries(said),
    merchantId,
    token,
    upstream: upstream ?? null,
    upstreamTrusted: typeof upstream === 'string',
    managedBy: 'file',
  }
}

function json<T>(value: T): T {
  return JSON.parse(JSON.stringify(value))
}
