import type { Hex } from '@protocolbanks/stream-protocol'
import { and, asc, desc, eq, isNotNull, isNull, lt, type SQL } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { limitOf, type Page, type PageRequest, toPage } from '../page.ts'
import type { FailureReason, Settlement, SettlementItem, SettlementState, SettlementTransition } from './settlement.ts'
import { settlementItemTable, settlementTable, settlementTransitionTable } from './table.ts'

/** With its items. As a tenant: only if one is theirs, and only theirs. */
export async function getSettlement(
  db: Queryable,
  id: string,
): Promise<(Settlement & { items: SettlementItem[] }) | undefined> {
  const [settlement] = await db.select().from(settlementTable).where(eq(settlementTable.id, id))
  if (!settlement) return undefined
  const items = await db
    .select()
    .from(settlementItemTable)
    .where(eq(settlementItemTable.settlementId, id))
    .orderBy(asc(settlementItemTable.payee))
  return { ...settlement, items }
}

const maxTransitions = 500

/**
 * The states that it was in, oldest first; the newest 500 of them. As a tenant: none unless an item of it is theirs.
 */
export async function listTransitions(db: Queryable, settlementId: string): Promise<SettlementTransition[]> {
  const rows = await db
    .select()
    .from(settlementTransitionTable)
    .where(eq(settlementTransitionTable.settlementId, settlementId))
    .orderBy(desc(settlementTransitionTable.id))
    .limit(maxTransitions)
  return rows.toReversed().map(({ id: _, settlementId: __, ...transition }) => transition)
}

/** Newest first. As a tenant: those with an item of theirs. */
export async function listSettlements(
  db: Queryable,
  filter: PageRequest & {
    grantId?: Hex | undefined
    state?: SettlementState | undefined
    /** Of the newest failure. */
    reason?: FailureReason | undefined
    /** Only those that were written off, or only those that were not. */
    writtenOff?: boolean | undefined
  } = {},
): Promise<Page<Settlement>> {
  const limit = limitOf(filter)
  const rows = await db
    .select()
    .from(settlementTable)
    .where(
      and(
        filter.grantId === undefined ? undefined : eq(settlementTable.grantId, filter.grantId),
        filter.state === undefined ? undefined : eq(settlementTable.state, filter.state),
        filter.reason === undefined ? undefined : eq(settlementTable.failureReason, filter.reason),
        filter.writtenOff === undefined ? undefined : writtenOffIs(filter.writtenOff),
        filter.cursor === undefined ? undefined : lt(settlementTable.id, filter.cursor),
      ),
    )
    .orderBy(desc(settlementTable.id))
    .limit(limit + 1)
  return toPage(rows, limit, (last) => last.id)
}

function writtenOffIs(wanted: boolean): SQL {
  return wanted ? isNotNull(settlementTable.writtenOffAt) : isNull(settlementTable.writtenOffAt)
}
