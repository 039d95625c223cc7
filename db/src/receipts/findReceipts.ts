import type { Address, GrantSource, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, inArray, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import type { Charge } from '../journal/journal.ts'
import { chargeTable } from '../journal/table.ts'
import type { SettlementState } from '../settlements/settlement.ts'
import { settlementTable } from '../settlements/table.ts'
import { settlementsOfCharge } from '../traces/settlementsOfCharge.ts'

/**
 * A charge with what became of it. Amounts in base units: of all its segments, where it was charged in several, each under the
 * request's id with `~2`, `~3` and so on; `cumulativeAmount` is of the last.
 */
export type ChargeReceipt = Charge & {
  /** How many charges it is made of. */
  segments: number
  /** What pays the grant; null: the grant is not known any more. */
  source: GrantSource | null
  /** What the payee had charged under the grant with this charge, in the order of time. */
  chargedUpTo: bigint
  /** Whether the payee has that much from the chain. */
  isSettled: boolean
  /** Those that claimed the charge, oldest first, up to the one that was confirmed. */
  settlements: { id: string; state: SettlementState; txHash: Hex | null }[]
}

/** Charges with one request id that are looked at: ids are unique for a grant and payee alone. */
export const maxReceipts = 20
/** Segments of a request that are looked for at once, and how often. */
const segmentBatch = 100
const maxBatches = 100

/** The charges with a request id, newest first. As a tenant or an owner: their own. */
export async function findReceipts(
  db: Queryable,
  of: { requestId: string; grantId?: Hex | undefined; payee?: Address | undefined },
): Promise<ChargeReceipt[]> {
  const select = (...ids: string[]) =>
    db
      .select()
      .from(chargeTable)
      .where(
        and(
          inArray(chargeTable.requestId, ids),
          of.grantId === undefined ? undefined : eq(chargeTable.grantId, of.grantId),
          of.payee === undefined ? undefined : eq(chargeTable.payee, of.payee),
        ),
      )
      .orderBy(desc(chargeTable.occurredAt), desc(chargeTable.eventId))
  const charges = await select(of.requestId).limit(maxReceipts)
  const segments: Charge[] = []
  for (let batch = 0; batch < maxBatches && charges.length > 0; batch++) {
    const ids = Array.from(
      { length: segmentBatch },
      (_, index) => `${of.requestId}~${batch * segmentBatch + index + 2}`,
    )
    const found = await select(...ids).limit(segmentBatch * maxReceipts)
    segments.push(...found)
    if (found.length < segmentBatch) break
  }
  const receipts: ChargeReceipt[] = []
  for (const charge of charges) {
    const own = segments.filter((segment) => charge === charges.find((first) => isSegmentOf(segment, first)))
    const all = [charge, ...own].sort(inTime)
    const last = all.at(-1) ?? charge
    const amount = all.reduce((sum, one) => sum + one.amount, 0n)
    const { cumulativeAmount } = last
    receipts.push({ ...charge, amount, cumulativeAmount, segments: all.length, ...(await readOutcome(db, last)) })
  }
  return receipts
}

/** Of charges with one request id, newest first, the first that this is true of: ids may come again after some time. */
function isSegmentOf(segment: Charge, first: Charge): boolean {
  return segment.grantId === first.grantId && segment.payee === first.payee && inTime(first, segment) < 0
}

function inTime(left: Charge, right: Charge): number {
  return left.occurredAt.getTime() - right.occurredAt.getTime() || (left.eventId < right.eventId ? -1 : 1)
}

type Outcome = Pick<ChargeReceipt, 'source' | 'chargedUpTo' | 'isSettled' | 'settlements'>

async function readOutcome(db: Queryable, charge: Charge): Promise<Outcome> {
  const { grantId, payee, occurredAt, eventId } = charge
  // Backwards from what the channel has now: receipts are asked for soon, and old months of the journal may be gone.
  const { rows } = await db.execute<{ settled: string; charged_up_to: string }>(sql`
    select c.settled, c.charged - coalesce((
      select sum(later.amount) from charge later
      where later.grant_id = c.grant_id and later.payee = c.payee
        and (later.occurred_at, later.event_id) > (${occurredAt.toISOString()}::timestamptz, ${eventId})), 0) as charged_up_to
    from channel c
    where c.grant_id = ${grantId.toLowerCase()} and c.payee = ${payee.toLowerCase()}`)
  const channel = rows[0] && { settled: BigInt(rows[0].settled), chargedUpTo: BigInt(rows[0].charged_up_to) }
  const chargedUpTo = channel?.chargedUpTo ?? charge.amount
  const [grant] = await db.select({ source: grantTable.source }).from(grantTable).where(eq(grantTable.grantId, grantId))
  const ids = await settlementsOfCharge(db, charge)
  const settlements =
    ids.length === 0
      ? []
      : await db
          .select({ id: settlementTable.id, state: settlementTable.state, txHash: settlementTable.txHash })
          .from(settlementTable)
          .where(inArray(settlementTable.id, ids))
          .orderBy(settlementTable.createdAt, settlementTable.id)
  const isSettled = channel !== undefined && channel.settled >= chargedUpTo
  return { source: grant?.source ?? null, chargedUpTo, isSettled, settlements }
}
