import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray, lt, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../createDb.ts'
import { merchantTable } from '../merchants/table.ts'
import { sponsorshipShareTable, sponsorshipTable } from './table.ts'

/** Gas that the paymaster promised for one UserOperation. */
export type Sponsorship = {
  userOpHash: Hex
  sender: Address
  /** What it is for, in the paymaster's words. */
  kind: string
  /** reserved: may still be included. spent: was. expired: was not, and cannot be any more. */
  state: 'reserved' | 'spent' | 'expired'
  maxCostWei: bigint
  actualCostWei: bigint | null
  validUntil: Date
  createdAt: Date
  bookedAt: Date | null
}

export type Reservation = {
  userOpHash: Hex
  sender: Address
  kind: string
  maxCostWei: bigint
  validUntil: Date
  now: Date
  /** Which merchants bear it, and how much of it at most. Empty: none, the operator does. */
  shares: readonly { merchantId: string; maxCostWei: bigint }[]
  /** All sponsorships of this kind together in this UTC day, at most. Undefined: no limit. */
  kindBudgetWeiPerDay?: bigint | undefined
  /** Sponsorships of this kind for this sender in this UTC day, at most. Undefined: no limit. */
  maxPerSenderPerDay?: number | undefined
}

export type ReservationResult =
  | { ok: true }
  | { ok: false; code: 'budget.merchant'; merchantId: string; budgetWei: bigint; usedWei: bigint }
  | { ok: false; code: 'budget.kind'; budgetWei: bigint; usedWei: bigint }
  | { ok: false; code: 'budget.sender'; maxPerDay: number }
  | { ok: false; code: 'merchant.unknown'; merchantId: string }

/**
 * Reserves the most a UserOperation may cost from the day's budgets, or says which of them it exceeds; then nothing is
 * reserved. Check and reservation are one step for each merchant, so that requests at once cannot exceed a budget
 * together. The same hash again is reserved already.
 */
export function reserveSponsorship(db: Queryable, reservation: Reservation): Promise<ReservationResult> {
  return db.transaction(async (tx) => {
    const { userOpHash, sender, kind, maxCostWei, validUntil, now, shares } = reservation
    const refusal = (await kindRefusal(tx, reservation)) ?? (await merchantRefusal(tx, reservation))
    if (refusal === 'reserved') return { ok: true }
    if (refusal) return refusal
    const rows = await tx
      .insert(sponsorshipTable)
      .values({ userOpHash, sender, kind, state: 'reserved', maxCostWei, validUntil, createdAt: now })
      .onConflictDoNothing()
      .returning({ userOpHash: sponsorshipTable.userOpHash })
    if (rows.length === 1 && shares.length > 0) {
      const day = dayOf(now)
      await tx.insert(sponsorshipShareTable).values(shares.map((share) => ({ ...share, userOpHash, day })))
    }
    return { ok: true }
  })
}

/**
 * Books what the UserOperation cost, shared out like its maximum. Right also after it expired, if it was included
 * before that and is seen now. False when it is unknown or booked already.
 */
export function bookSponsorship(
  db: Queryable,
  { userOpHash, actualCostWei, now }: { userOpHash: Hex; actualCostWei: bigint; now: Date },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [booked] = await tx
      .update(sponsorshipTable)
      .set({ state: 'spent', actualCostWei, bookedAt: now })
      .where(and(eq(sponsorshipTable.userOpHash, userOpHash), inArray(sponsorshipTable.state, ['reserved', 'expired'])))
      .returning({ userOpHash: sponsorshipTable.userOpHash })
    if (!booked) return false
    const shares = await tx
      .select()
      .from(sponsorshipShareTable)
      .where(eq(sponsorshipShareTable.userOpHash, userOpHash))
      .orderBy(asc(sponsorshipShareTable.merchantId))
    for (const { merchantId, actualCostWei: cost } of shareOut(actualCostWei, shares)) {
      await tx
        .update(sponsorshipShareTable)
        .set({ actualCostWei: cost })
        .where(and(eq(sponsorshipShareTable.userOpHash, userOpHash), eq(sponsorshipShareTable.merchantId, merchantId)))
    }
    return true
  })
}

const maxExpiredAtOnce = 1_000

/**
 * Gives back reservations that ended before `before`: pass a moment far enough in the past for the chain's events to
 * have arrived.
 *
 * @returns how many; 1,000 at most, then call again
 */
export async function expireSponsorships(db: Queryable, before: Date): Promise<number> {
  const due = db
    .select({ userOpHash: sponsorshipTable.userOpHash })
    .from(sponsorshipTable)
    .where(and(eq(sponsorshipTable.state, 'reserved'), lt(sponsorshipTable.validUntil, before)))
    .limit(maxExpiredAtOnce)
    .for('update', { skipLocked: true })
  return db.transaction(async (tx) => {
    const expired = await tx
      .update(sponsorshipTable)
      .set({ state: 'expired' })
      .where(inArray(sponsorshipTable.userOpHash, due))
      .returning({ userOpHash: sponsorshipTable.userOpHash })
    if (expired.length > 0) {
      await tx
        .update(sponsorshipShareTable)
        .set({ actualCostWei: 0n })
        .where(
          inArray(
            sponsorshipShareTable.userOpHash,
            expired.map(({ userOpHash }) => userOpHash),
          ),
        )
    }
    return expired.length
  })
}

export async function getSponsorship(db: Queryable, userOpHash: Hex): Promise<Sponsorship | undefined> {
  const [sponsorship] = await db.select().from(sponsorshipTable).where(eq(sponsorshipTable.userOpHash, userOpHash))
  return sponsorship
}

/** What a merchant's gas cost, or may still cost, in the UTC day of `now`. */
export async function gasUsedToday(db: Queryable, merchantId: string, now: Date): Promise<bigint> {
  const [row] = await db
    .select({
      usedWei:
        sql`coalesce(sum(coalesce(${sponsorshipShareTable.actualCostWei}, ${sponsorshipShareTable.maxCostWei})), 0)`.mapWith(
          BigInt,
        ),
    })
    .from(sponsorshipShareTable)
    .where(and(eq(sponsorshipShareTable.merchantId, merchantId), eq(sponsorshipShareTable.day, dayOf(now))))
  return row?.usedWei ?? 0n
}

type Refusal = Exclude<ReservationResult, { ok: true }>

/** Merchants are locked in the order of their ids, so that two reservations wait for each other and never deadlock. */
async function merchantRefusal(tx: Tx, reservation: Reservation): Promise<Refusal | 'reserved' | undefined> {
  const { shares, now, userOpHash } = reservation
  const merchants = await tx
    .select({ id: merchantTable.id, budgetWei: merchantTable.gasBudgetWeiPerDay })
    .from(merchantTable)
    .where(
      inArray(
        merchantTable.id,
        shares.map(({ merchantId }) => merchantId),
      ),
    )
    .orderBy(asc(merchantTable.id))
    .for('no key update')
  // Under the lock: the reservation that this one waited for may have been the same.
  if (await getSponsorship(tx, userOpHash)) return 'reserved'
  for (const { merchantId, maxCostWei } of shares) {
    const merchant = merchants.find(({ id }) => id === merchantId)
    if (!merchant) return { ok: false, code: 'merchant.unknown', merchantId }
    const usedWei = await gasUsedToday(tx, merchantId, now)
    if (usedWei + maxCostWei > merchant.budgetWei) {
      return { ok: false, code: 'budget.merchant', merchantId, budgetWei: merchant.budgetWei, usedWei }
    }
  }
  return undefined
}

async function kindRefusal(tx: Tx, reservation: Reservation): Promise<Refusal | undefined> {
  const { kind, sender, maxCostWei, now, kindBudgetWeiPerDay, maxPerSenderPerDay, userOpHash } = reservation
  if (kindBudgetWeiPerDay === undefined && maxPerSenderPerDay === undefined) return undefined
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('stream.sponsorship'), hashtext(${kind}))`)
  if (await getSponsorship(tx, userOpHash)) return undefined
  const today = sql`${sponsorshipTable.createdAt} >= ${dayOf(now)}::timestamp at time zone 'UTC'
    and ${sponsorshipTable.kind} = ${kind} and ${sponsorshipTable.state} <> 'expired'`
  if (kindBudgetWeiPerDay !== undefined) {
    const [row] = await tx
      .select({
        usedWei:
          sql`coalesce(sum(coalesce(${sponsorshipTable.actualCostWei}, ${sponsorshipTable.maxCostWei})), 0)`.mapWith(
            BigInt,
          ),
      })
      .from(sponsorshipTable)
      .where(today)
    const usedWei = row?.usedWei ?? 0n
    if (usedWei + maxCostWei > kindBudgetWeiPerDay) {
      return { ok: false, code: 'budget.kind', budgetWei: kindBudgetWeiPerDay, usedWei }
    }
  }
  if (maxPerSenderPerDay !== undefined) {
    const [row] = await tx
      .select({ count: sql<number>`count(*)::integer` })
      .from(sponsorshipTable)
      .where(and(today, eq(sponsorshipTable.sender, sender)))
    if ((row?.count ?? 0) >= maxPerSenderPerDay)
      return { ok: false, code: 'budget.sender', maxPerDay: maxPerSenderPerDay }
  }
  return undefined
}

type Share = { merchantId: string; maxCostWei: bigint }

/** In proportion to the maxima, rounded down; the last bears the rest, so that nothing is lost. */
function shareOut(totalWei: bigint, shares: readonly Share[]): { merchantId: string; actualCostWei: bigint }[] {
  const sumOfMaxima = shares.reduce((sum, { maxCostWei }) => sum + maxCostWei, 0n)
  let leftWei = totalWei
  return shares.map(({ merchantId, maxCostWei }, index) => {
    const part = sumOfMaxima === 0n ? 0n : (totalWei * maxCostWei) / sumOfMaxima
    const actualCostWei = index === shares.length - 1 ? leftWei : part
    leftWei -= actualCostWei
    return { merchantId, actualCostWei }
  })
}

/** The UTC day, `2026-11-21`. */
function dayOf(moment: Date): string {
  return moment.toISOString().slice(0, 10)
}
