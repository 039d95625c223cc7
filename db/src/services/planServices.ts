import { isDeepStrictEqual } from 'node:util'
import type { serviceTable } from './table.ts'

/** A row of services, without its id and times. */
export type ServiceColumns = Omit<typeof serviceTable.$inferSelect, 'id' | 'createdAt' | 'updatedAt'>

/** A row as it is. */
export type ServiceRow = ServiceColumns & { id: string }

export type ServicePlan = {
  create: ServiceColumns[]
  change: { id: string; columns: ServiceColumns; from: ServiceRow }[]
  /** What is no longer named: disabled, and the API's from now on. `isInTheWay`: another is to have its path. */
  release: { id: string; isInTheWay: boolean }[]
}

/**
 * What makes the rows those that are wanted. A service is known by its name at its merchant; one that has another name is
 * the same when it has its path, and the file made it. `rows` are all of these merchants, and all that the file manages.
 */
export function planServices(rows: readonly ServiceRow[], wanted: readonly ServiceColumns[]): ServicePlan {
  const names = new Set(wanted.map(({ merchantId, name }) => `${merchantId} ${name}`))
  const byName = new Map(rows.map((row) => [`${row.merchantId} ${row.name}`, row]))
  const renamed = new Map(
    rows
      .filter(({ managedBy, merchantId, name }) => managedBy === 'file' && !names.has(`${merchantId} ${name}`))
      .map((row) => [`${row.merchantId} ${row.pathPrefix}`, row]),
  )
  const plan: ServicePlan = { create: [], change: [], release: [] }
  const kept = new Set<string>()
  for (const columns of wanted) {
    const { merchantId, name, pathPrefix } = columns
    const from = byName.get(`${merchantId} ${name}`) ?? renamed.get(`${merchantId} ${pathPrefix}`)
    if (!from) plan.create.push(columns)
    else {
      kept.add(from.id)
      if (!isSame(from, columns)) plan.change.push({ id: from.id, columns, from })
    }
  }
  const paths = new Set(wanted.map(({ pathPrefix }) => pathPrefix))
  plan.release = rows
    .filter(({ id, managedBy }) => managedBy === 'file' && !kept.has(id))
    .map(({ id, pathPrefix }) => ({ id, isInTheWay: paths.has(pathPrefix) }))
  return plan
}

function isSame(row: ServiceRow, columns: ServiceColumns): boolean {
  return Object.entries(columns).every(([name, value]) => isDeepStrictEqual(row[name as keyof ServiceColumns], value))
}
