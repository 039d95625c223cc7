import { and, eq, inArray } from 'drizzle-orm'
import { openStates } from './settlement.ts'
import { settlementTable } from './table.ts'

/** Open and leased by this owner: a worker whose lease went to another can no longer write. */
export function heldBy(id: string, owner: string) {
  return and(
    eq(settlementTable.id, id),
    eq(settlementTable.leaseOwner, owner),
    inArray(settlementTable.state, [...openStates]),
  )
}
