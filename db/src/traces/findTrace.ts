import type { Hex } from '@protocolbanks/stream-protocol'
import { arrayContains, desc, eq, inArray, or, type SQL } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Charge } from '../journal/journal.ts'
import { chargeTable } from '../journal/table.ts'
import type { Settlement, SettlementItem, SettlementTransition } from '../settlements/settlement.ts'
import { getSettlement, listTransitions } from '../settlements/settlements.ts'
import { settlementTable } from '../settlements/table.ts'
import { sponsorshipTable } from '../sponsorships/table.ts'
import { settlementTransactionMemberTable, settlementTransactionTable } from '../transactions/table.ts'
import { chargesOfSettlement } from './chargesOfSettlement.ts'
import { settlementsOfCharge } from './settlementsOfCharge.ts'

/** A way from requests to the transactions that paid for them, as far as it has come. */
export type Trace = {
  /** Newest first, with the ids of the settlements that claimed each. */
  charges: (Charge & { settlementIds: string[] })[]
  /** Oldest first. */
  settlements: TracedSettlement[]
}

export type TracedSettlement = Settlement & {
  items: SettlementItem[]
  transitions: SettlementTransition[]
  /** Of its operations, oldest first: when their gas was promised, and when it was booked. */
  sponsorships: {
    userOpHash: Hex
    state: string
    createdAt: Date
    bookedAt: Date | null
    actualCostWei: bigint | null
  }[]
  /** Shared transactions that it was in, oldest first. */
  transactions: { id: string; state: string; hashes: Hex[]; sentAt: Date | null; txHash: Hex | null }[]
}

/** Of each kind at most. */
export const maxTraced = 32

/**
 * Follows a request id, a trace id (of a request or of a settlement), a settlement's id, a UserOperation's hash or a
 * transaction's hash in both directions. Undefined: nothing has that name.
 */
export async function findTrace(db: Queryable, id: string): Promise<Trace | undefined> {
  const named = await findCharges(db, id)
  const settlementIds = named.length > 0 ? [] : await findSettlements(db, id)
  if (named.length + settlementIds.length === 0) return undefined

  const charges: Trace['charges'] = []
  for (const charge of named) charges.push({ ...charge, settlementIds: await settlementsOfCharge(db, charge) })
  for (const settlementId of settlementIds) {
    const limit = maxTraced - charges.length
    const its = limit > 0 ? await chargesOfSettlement(db, settlementId, { limit }) : []
    charges.push(...its.map((charge) => ({ ...charge, settlementIds: [settlementId] })))
  }
  const ids = [...settlementIds, ...charges.flatMap((charge) => charge.settlementIds)]
  const settlements: TracedSettlement[] = []
  for (const settlementId of [...new Set(ids)].toSorted().slice(0, maxTraced)) {
    const settlement = await loadSettlement(db, settlementId)
    if (settlement) settlements.push(settlement)
  }
  return { charges, settlements }
}

const hex32 = /^0x[0-9a-f]{64}$/
const traceId = /^[0-9a-f]{32}$/

function findCharges(db: Queryable, id: string): Promise<Charge[]> {
  const isTraceId = traceId.test(id.toLowerCase())
  return db
    .select()
    .from(chargeTable)
    .where(or(eq(chargeTable.requestId, id), isTraceId ? eq(chargeTable.traceId, id.toLowerCase()) : undefined))
    .orderBy(desc(chargeTable.occurredAt))
    .limit(maxTraced)
}

async function findSettlements(db: Queryable, id: string): Promise<string[]> {
  const name = id.toLowerCase()
  if (traceId.test(name)) return selectSettlements(db, eq(settlementTable.id, `stl_${name}`))
  if (name.startsWith('stl_')) return selectSettlements(db, eq(settlementTable.id, name))
  if (!hex32.test(name)) return []
  const hash = name as Hex
  const own = await selectSettlements(
    db,
    or(
      eq(settlementTable.userOpHash, hash),
      eq(settlementTable.txHash, hash),
      arrayContains(settlementTable.earlierUserOpHashes, [hash]),
    ),
  )
  if (own.length > 0) return own
  const shared = await db
    .select({ id: settlementTransactionMemberTable.settlementId })
    .from(settlementTransactionMemberTable)
    .innerJoin(
      settlementTransactionTable,
      eq(settlementTransactionTable.id, settlementTransactionMemberTable.transactionId),
    )
    .where(arrayContains(settlementTransactionTable.hashes, [hash]))
    .orderBy(settlementTransactionMemberTable.position)
    .limit(maxTraced)
  return shared.map((member) => member.id)
}

async function selectSettlements(db: Queryable, where: SQL | undefined): Promise<string[]> {
  const query = db.select({ id: settlementTable.id }).from(settlementTable).where(where)
  const rows = await query.orderBy(settlementTable.id).limit(maxTraced)
  return rows.map(({ id }) => id)
}

async function loadSettlement(db: Queryable, id: string): Promise<TracedSettlement | undefined> {
  const settlement = await getSettlement(db, id)
  if (!settlement) return undefined
  const hashes = [...settlement.earlierUserOpHashes, ...(settlement.userOpHash ? [settlement.userOpHash] : [])]
  const sponsorships =
    hashes.length === 0
      ? []
      : await db
          .select()
          .from(sponsorshipTable)
          .where(inArray(sponsorshipTable.userOpHash, hashes))
          .orderBy(sponsorshipTable.createdAt)
  const transactions = await db
    .select({ transaction: settlementTransactionTable })
    .from(settlementTransactionTable)
    .innerJoin(
      settlementTransactionMemberTable,
      eq(settlementTransactionMemberTable.transactionId, settlementTransactionTable.id),
    )
    .where(eq(settlementTransactionMemberTable.settlementId, id))
    .orderBy(settlementTransactionTable.id)
  return {
    ...settlement,
    transitions: await listTransitions(db, id),
    sponsorships: sponsorships.map(({ userOpHash, state, createdAt, bookedAt, actualCostWei }) => ({
      userOpHash,
      state,
      createdAt,
      bookedAt,
      actualCostWei,
    })),
    transactions: transactions.map(({ transaction: { id, state, hashes, sentAt, txHash } }) => ({
      id,
      state,
      hashes,
      sentAt,
      txHash,
    })),
  }
}
