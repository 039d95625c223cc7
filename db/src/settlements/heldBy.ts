import { and, eq, inArray } from 'drizzle-orm'
import { settlementTable } from './table.ts'

/** States of a settlement whose outcome is still to come. */
const openStates = ['intended', 'submitted', 'failed'] as const

/** Open and leased by this owner: a worker whose lease went to another can no longer write. */
export function heldBy(id: string, owner: string) {
  return and(
    eq(settlementTable.id, id),
    eq(settlementTable.leaseOwner, owner),
    inArray(settlementTable.state, [...openStates]),
  )
}
