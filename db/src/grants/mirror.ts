import { type Address, type GrantTerms, type Hex, packTerms } from '@protocolbanks/stream-protocol'
import { and, eq, lte, or, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { merchantTable } from '../merchants/table.ts'
import { emptyPool, type ReservePool } from './reservePool.ts'
import { accountTable, channelTable, grantTable } from './table.ts'

/** A grant as the chain shows it at a block. */
export type GrantFromChain = { grantId: Hex; account: Address; epoch: bigint; terms: GrantTerms } & GrantStateFromChain

/** What changes about a grant on-chain. Amounts in base units. */
export type GrantStateFromChain = {
  grantId: Hex
  status: 'none' | 'active' | 'frozen' | 'revoked'
  settled: bigint
  periodIndex: number
  periodSettled: bigint
  blockNumber: bigint
}

export type AccountFromChain = {
  account: Address
  token: Address
  /** Of the token, base units. */
  balance: bigint
  /** To the module; up to uint256. */
  allowance: bigint
  accountFrozen: boolean
  /** The zero address: none. */
  guardian: Address
  epoch: bigint
  /** Left out: nothing is in it. */
  reserve?: ReservePool | undefined
  blockNumber: bigint
}

export type ChannelFromChain = { grantId: Hex; payee: Address; settled: bigint; blockNumber: bigint }

/** Writes the chain's state of grants, pending ones included. A row that shows a later block is left alone. */
export async function upsertGrantsFromChain(db: Queryable, grants: readonly GrantFromChain[]): Promise<void> {
  for (const { terms, ...state } of grants) {
    await db
      .insert(grantTable)
      .values({ ...terms, ...state, packedTerms: packTerms(terms) })
      .onConflictDoUpdate({
        target: grantTable.grantId,
        set: { ...changeOf(state), updatedAt: sql`now()` },
        setWhere: lte(grantTable.blockNumber, state.blockNumber),
      })
  }
}

/** The same for grants that are known. Unknown ones are left out: bring them whole. */
export async function updateGrantStates(db: Queryable, states: readonly GrantStateFromChain[]): Promise<void> {
  for (const state of states) {
    await db
      .update(grantTable)
      .set({ ...changeOf(state), updatedAt: sql`now()` })
      .where(and(eq(grantTable.grantId, state.grantId), lte(grantTable.blockNumber, state.blockNumber)))
  }
}

/** Writes balances, allowances, reserves and the account's state in the module. A later block's row is left alone. */
export async function upsertAccountsFromChain(db: Queryable, accounts: readonly AccountFromChain[]): Promise<void> {
  for (const { account, token, reserve = emptyPool, ...state } of accounts) {
    const change = {
      ...state,
      reserveBalance: reserve.balance,
      reserveWithdrawing: reserve.withdrawing,
      reserveWithdrawableAt: reserve.withdrawableAt,
    }
    await db
      .insert(accountTable)
      .values({ account, token, ...change })
      .onConflictDoUpdate({
        target: [accountTable.account, accountTable.token],
        set: change,
        setWhere: lte(accountTable.blockNumber, state.blockNumber),
      })
  }
}

/**
 * Writes what the chain has settled per channel. A channel that nobody opened here is made: its payee collected by
 * itself. From when something is owed is read from the journal again.
 */
export async function upsertChannelsFromChain(db: Queryable, channels: readonly ChannelFromChain[]): Promise<void> {
  // In the order in which the journal locks channels, so that the two wait for each other and never deadlock.
  for (const { grantId, payee, settled, blockNumber } of channels.toSorted(byKey)) {
    const merchantId = sql<string>`(select ${merchantTable.id} from ${merchantTable} where ${eq(merchantTable.payee, payee)})`
    await db
      .insert(channelTable)
      .values({ grantId, payee, merchantId, settled, settledBlock: blockNumber })
      .onConflictDoUpdate({
        target: [channelTable.grantId, channelTable.payee],
        set: { settled, settledBlock: blockNumber },
        setWhere: lte(channelTable.settledBlock, blockNumber),
      })
    await db
      .update(channelTable)
      .set({ firstUnsettledAt: oldestUnsettled })
      .where(
        and(
          eq(channelTable.grantId, grantId),
          eq(channelTable.payee, payee),
          or(sql`${channelTable.firstUnsettledAt} is not null`, sql`${channelTable.charged} > ${channelTable.settled}`),
        ),
      )
  }
}

/**
 * The newest charges that add up to what is owed are the unsettled ones; this is the time of the oldest of them. Reads
 * the journal backwards and stops there. NULL when nothing is owed.
 */
const oldestUnsettled = sql`case when ${channelTable.charged} > ${channelTable.settled} then coalesce((
  select unsettled.occurred_at from (
    select c.occurred_at, sum(c.amount) over (order by c.occurred_at desc, c.event_id desc) as newer
    from charge c where c.grant_id = ${channelTable.grantId} and c.payee = ${channelTable.payee}
  ) unsettled
  where unsettled.newer >= ${channelTable.charged} - ${channelTable.settled}
  order by unsettled.occurred_at desc limit 1
), ${channelTable.firstUnsettledAt}) end`

function byKey(a: ChannelFromChain, b: ChannelFromChain): number {
  return keyOf(a) < keyOf(b) ? -1 : 1
}

function keyOf({ grantId, payee }: ChannelFromChain): string {
  return `${grantId} ${payee}`.toLowerCase()
}

function changeOf({ status, settled, periodIndex, periodSettled, blockNumber }: GrantStateFromChain) {
  return { status, settled, periodIndex, periodSettled, blockNumber }
}
