import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, inArray, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { channelTable, grantTable } from '../grants/table.ts'
import { payeeBlockTable } from './table.ts'

/** A payee whom the token's contract refuses to pay, e.g. because its issuer blocked them. */
export type PayeeBlock = {
  token: Address
  payee: Address
  /** False: paid again. */
  blocked: boolean
  since: Date
  changedAt: Date
  /** Answers in a row that it is blocked. */
  checks: number
  nextCheckAt: Date
}

export type PayeeAnswer = { token: Address; payee: Address; blocked: boolean }

const firstCheckMs = 60_000
const maxCheckMs = 3_600_000

/**
 * Writes down what the token answered about payees. A new block is checked after a minute, then ever more rarely, up to
 * once an hour. That somebody is not blocked is written only where it was.
 */
export async function recordPayeeAnswers(db: Queryable, answers: readonly PayeeAnswer[], now: Date): Promise<void> {
  const nowIso = now.toISOString()
  // In one order, so that two workers wait for each other and never deadlock.
  for (const { token, payee, blocked } of answers.toSorted((a, b) => (a.payee < b.payee ? -1 : 1))) {
    const key = and(eq(payeeBlockTable.token, token), eq(payeeBlockTable.payee, payee))
    if (!blocked) {
      await db
        .update(payeeBlockTable)
        .set({ blocked: false, changedAt: now, checks: 0 })
        .where(and(key, payeeBlockTable.blocked))
      continue
    }
    const { checks } = payeeBlockTable
    await db
      .insert(payeeBlockTable)
      .values({
        token,
        payee,
        blocked,
        since: now,
        changedAt: now,
        nextCheckAt: new Date(now.getTime() + firstCheckMs),
      })
      .onConflictDoUpdate({
        target: [payeeBlockTable.token, payeeBlockTable.payee],
        set: {
          blocked: true,
          since: sql`case when ${payeeBlockTable.blocked} then ${payeeBlockTable.since} else ${nowIso}::timestamptz end`,
          changedAt: sql`case when ${payeeBlockTable.blocked} then ${payeeBlockTable.changedAt} else ${nowIso}::timestamptz end`,
          checks: sql`least(${checks} + 1, 1000)`,
          nextCheckAt: sql`${nowIso}::timestamptz
            + least(${firstCheckMs} * power(2, least(${checks}, 16)), ${maxCheckMs}) * interval '1 millisecond'`,
        },
      })
  }
}

/** Those whom the token is to be asked about again, for this caller: another one asks about them a minute later. */
export async function takeDuePayeeBlocks(
  db: Queryable,
  { now, limit }: { now: Date; limit: number },
): Promise<PayeeBlock[]> {
  const nowIso = now.toISOString()
  const due = sql`(
    select b.token, b.payee from payee_block b where b.blocked and b.next_check_at <= ${nowIso}::timestamptz
    order by b.next_check_at, b.payee limit ${limit} for update skip locked)`
  return db
    .update(payeeBlockTable)
    .set({ nextCheckAt: new Date(now.getTime() + firstCheckMs) })
    .where(sql`(${payeeBlockTable.token}, ${payeeBlockTable.payee}) in ${due}`)
    .returning()
}

/** What changed since then, oldest first, for those who copy it; at most 1,000. */
export function listPayeeBlockChanges(db: Queryable, since: Date): Promise<PayeeBlock[]> {
  return db
    .select()
    .from(payeeBlockTable)
    .where(sql`${payeeBlockTable.changedAt} > ${since.toISOString()}::timestamptz`)
    .orderBy(asc(payeeBlockTable.changedAt), asc(payeeBlockTable.payee))
    .limit(1_000)
}

/** Payees of these grants whom the token does not pay. As a tenant: their own. */
export function listBlockedPayees(
  db: Queryable,
  grantIds: readonly Hex[],
): Promise<{ grantId: Hex; payee: Address; since: Date }[]> {
  if (grantIds.length === 0) return Promise.resolve([])
  return db
    .select({ grantId: channelTable.grantId, payee: channelTable.payee, since: payeeBlockTable.since })
    .from(channelTable)
    .innerJoin(grantTable, eq(grantTable.grantId, channelTable.grantId))
    .innerJoin(payeeBlockTable, isBlockedChannel)
    .where(inArray(channelTable.grantId, [...grantIds]))
    .orderBy(asc(channelTable.grantId), asc(channelTable.payee))
}

/** Accounts that can still pay this payee, in the order of their address; `after` is the last of the page before. */
export async function listAccountsOfPayee(
  db: Queryable,
  { token, payee, after, limit }: { token: Address; payee: Address; after?: Address | undefined; limit: number },
): Promise<Address[]> {
  const rows = await db
    .selectDistinct({ account: grantTable.account })
    .from(channelTable)
    .innerJoin(grantTable, eq(grantTable.grantId, channelTable.grantId))
    .where(
      and(
        eq(channelTable.payee, payee),
        eq(grantTable.token, token),
        inArray(grantTable.status, ['active', 'frozen']),
        after === undefined ? undefined : sql`${grantTable.account} > ${after.toLowerCase()}`,
      ),
    )
    .orderBy(asc(grantTable.account))
    .limit(limit)
  return rows.map(({ account }) => account)
}

/** For queries that join `channel` and `grant`. */
export const isBlockedChannel = and(
  eq(payeeBlockTable.payee, channelTable.payee),
  eq(payeeBlockTable.token, grantTable.token),
  payeeBlockTable.blocked,
)
