import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, desc, eq, gt, gte, inArray, lte, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import {
  type AccountFromChain,
  type ChannelFromChain,
  type GrantFromChain,
  type GrantStateFromChain,
  updateGrantStates,
  upsertAccountsFromChain,
  upsertChannelsFromChain,
  upsertGrantsFromChain,
} from '../grants/mirror.ts'
import { accountTable, channelTable, grantTable } from '../grants/table.ts'
import { openStatesSql } from '../settlements/stateLists.ts'
import { chainEventTable, indexedBlockTable, indexerCursorTable } from './table.ts'

/** Up to where the chain is mirrored. */
export type IndexerCursor = {
  name: string
  blockNumber: bigint
  blockHash: Hex
  /** When the chain's head was last compared with it. */
  checkedAt: Date
}

export type IndexedBlock = { number: bigint; hash: Hex }

/** A log of ours. `data` is JSON: bigints as strings. */
export type ChainEvent = {
  blockNumber: bigint
  blockHash: Hex
  logIndex: number
  txHash: Hex
  name: string
  account: Address | null
  grantId: Hex | null
  payee: Address | null
  data: Record<string, unknown>
}

export type IndexerStep = {
  name: string
  /** The block number of the cursor this step starts from; undefined: there is none yet. */
  from: bigint | undefined
  /** Read now, ascending; the last becomes the cursor. Empty: only `checkedAt` changes. */
  blocks: readonly IndexedBlock[]
  events: readonly ChainEvent[]
  /** New grants, whole. */
  grants: readonly GrantFromChain[]
  /** What changed about known ones. */
  grantStates: readonly GrantStateFromChain[]
  accounts: readonly AccountFromChain[]
  channels: readonly ChannelFromChain[]
  checkedAt: Date
}

/** So many blocks are kept to find a fork. A deeper reorganisation needs the indexer to begin anew. */
export const keptBlocks = 256n

export async function getCursor(db: Queryable, name: string): Promise<IndexerCursor | undefined> {
  const [cursor] = await db.select().from(indexerCursorTable).where(eq(indexerCursorTable.name, name))
  return cursor
}

/**
 * Mirrors what a range of blocks changed, and moves the cursor, in one transaction. A settlement that was confirmed in one
 * of them, and whose payment is not there, is open again. False, and nothing changes, when the
 * cursor is not at `from`: another indexer was faster. Safe to repeat.
 */
export function advance(db: Queryable, step: IndexerStep): Promise<boolean> {
  return db.transaction(async (tx) => {
    if (!(await moveCursor(tx, step))) return false
    await upsertGrantsFromChain(tx, step.grants)
    await updateGrantStates(tx, step.grantStates)
    await upsertAccountsFromChain(tx, step.accounts)
    await upsertChannelsFromChain(tx, step.channels)
    // Bounded by the parameters of one statement: 9 of each event, of 65,535.
    for (let start = 0; start < step.events.length; start += maxEventsPerStatement) {
      const events = step.events.slice(start, start + maxEventsPerStatement)
      await tx.insert(chainEventTable).values(events).onConflictDoNothing()
    }
    const newest = step.blocks.at(-1)
    if (newest) {
      const kept = step.blocks.filter(({ number }) => number > newest.number - keptBlocks)
      await tx
        .insert(indexedBlockTable)
        .values(kept)
        .onConflictDoUpdate({ target: indexedBlockTable.number, set: { hash: sql`excluded.hash` } })
      await tx.delete(indexedBlockTable).where(lte(indexedBlockTable.number, newest.number - keptBlocks))
      await reopenSettlements(tx, isUnseenUpTo(newest.number))
    }
    return true
  })
}

/** Newest first, at most 256. */
export function listIndexedBlocks(db: Queryable): Promise<IndexedBlock[]> {
  return db.select().from(indexedBlockTable).orderBy(desc(indexedBlockTable.number)).limit(Number(keptBlocks))
}

/** In the chain's order. At most `limit`, 10,000 by default: a fork is at most 256 blocks deep. */
export function eventsAbove(db: Queryable, blockNumber: bigint, limit = 10_000): Promise<ChainEvent[]> {
  return db
    .select()
    .from(chainEventTable)
    .where(gt(chainEventTable.blockNumber, blockNumber))
    .orderBy(asc(chainEventTable.blockNumber), asc(chainEventTable.logIndex))
    .limit(limit)
}

/** What the chain took back, and so has to be read from it again. */
export type Unwound = {
  grantIds: Hex[]
  accounts: { account: Address; token: Address }[]
  channels: { grantId: Hex; payee: Address }[]
}

/**
 * Forgets everything above `block`, which is on both sides of the fork, and moves the cursor there. Rows of the mirror
 * that showed later blocks keep their values, but accept older ones again: mirror what this returns. Settlements that
 * were confirmed in a lost block are open again. Undefined when there is no cursor.
 */
export function deleteAbove(
  db: Queryable,
  { name, block, checkedAt }: { name: string; block: IndexedBlock; checkedAt: Date },
): Promise<Unwound | undefined> {
  return db.transaction(async (tx) => {
    const moved = await tx
      .update(indexerCursorTable)
      .set({ blockNumber: block.number, blockHash: block.hash, checkedAt })
      .where(and(eq(indexerCursorTable.name, name), gte(indexerCursorTable.blockNumber, block.number)))
      .returning({ name: indexerCursorTable.name })
    if (moved.length === 0) return undefined
    await tx.delete(indexedBlockTable).where(gt(indexedBlockTable.number, block.number))
    await tx.delete(chainEventTable).where(gt(chainEventTable.blockNumber, block.number))
    const grants = await tx
      .update(grantTable)
      .set({ blockNumber: block.number })
      .where(gt(grantTable.blockNumber, block.number))
      .returning({ grantId: grantTable.grantId })
    const accounts = await tx
      .update(accountTable)
      .set({ blockNumber: block.number })
      .where(gt(accountTable.blockNumber, block.number))
      .returning({ account: accountTable.account, token: accountTable.token })
    const channels = await tx
      .update(channelTable)
      .set({ settledBlock: block.number })
      .where(gt(channelTable.settledBlock, block.number))
      .returning({ grantId: channelTable.grantId, payee: channelTable.payee })
    await reopenSettlements(tx, sql`s.block_number > ${block.number.toString()}`)
    return { grantIds: grants.map(({ grantId }) => grantId), accounts, channels }
  })
}

/**
 * Accounts with a grant that can be used, in the order of their address: whose balance and allowance matter.
 * `after` is the last of the batch before.
 */
export function listLiveAccounts(
  db: Queryable,
  { now, after, limit }: { now: Date; after?: { account: Address; token: Address } | undefined; limit: number },
): Promise<{ account: Address; token: Address }[]> {
  return db
    .selectDistinct({ account: grantTable.account, token: grantTable.token })
    .from(grantTable)
    .where(
      and(
        inArray(grantTable.status, ['active', 'frozen']),
        gte(grantTable.validUntil, Math.floor(now.getTime() / 1_000)),
        after === undefined
          ? undefined
          : sql`(${grantTable.account}, ${grantTable.token}) > (${after.account.toLowerCase()}, ${after.token.toLowerCase()})`,
      ),
    )
    .orderBy(asc(grantTable.account), asc(grantTable.token))
    .limit(limit)
}

const maxEventsPerStatement = 1_000

async function moveCursor(tx: Queryable, { name, from, blocks, checkedAt }: IndexerStep): Promise<boolean> {
  const newest = blocks.at(-1)
  if (from === undefined) {
    if (!newest) return false
    const rows = await tx
      .insert(indexerCursorTable)
      .values({ name, blockNumber: newest.number, blockHash: newest.hash, checkedAt })
      .onConflictDoNothing()
      .returning({ name: indexerCursorTable.name })
    return rows.length === 1
  }
  const rows = await tx
    .update(indexerCursorTable)
    .set({ checkedAt, ...(newest && { blockNumber: newest.number, blockHash: newest.hash }) })
    .where(and(eq(indexerCursorTable.name, name), eq(indexerCursorTable.blockNumber, from)))
    .returning({ name: indexerCursorTable.name })
  return rows.length === 1
}

/**
 * For rows `s` of settlement: whether it says that it paid in a block that is mirrored, and the mirror has no payment of
 * its transaction. The worker saw a block that was reorganised away before the mirror came to it, or confirmed it late.
 */
function isUnseenUpTo(block: bigint): SQL {
  return sql`s.block_number > ${(block - keptBlocks).toString()} and s.block_number <= ${block.toString()}
    and exists (select from settlement_item i where i.settlement_id = s.id and i.paid > 0)
    and not exists (
      select from chain_event e where e.grant_id = s.grant_id and e.block_number = s.block_number
        and e.tx_hash = s.tx_hash and e.name = 'Settled')`
}

/** A grant that meanwhile has another open settlement keeps that one; the lost one is written off. */
async function reopenSettlements(tx: Queryable, isLost: SQL): Promise<void> {
  await tx.execute(sql`
    with lost as (
      select s.id, s.state, row_number() over (partition by s.grant_id order by s.id desc) = 1 and not exists (
          select from settlement o where o.grant_id = s.grant_id and o.state in ${openStatesSql}
        ) as reopen
      from settlement s where s.state = 'confirmed' and ${isLost}
    ),
    items as (
      update settlement_item i set paid = null, skipped_reason = null from lost where i.settlement_id = lost.id
    )
    update settlement s set
      state = case when lost.reopen then 'submitted' else 'dead' end,
      written_off_at = case when lost.reopen then null else now() end,
      failure_reason = 'reorganised', error_code = 'chain.reorganised',
      error_message = 'The block that included it is no longer part of the chain.',
      tx_hash = null, block_number = null, gas_used = null, gas_cost_wei = null, sent_at = null, lane_since = now(),
      next_attempt_at = null, updated_at = now()
    from lost where s.id = lost.id`)
}
