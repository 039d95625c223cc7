import type { Address, GrantTerms, Hex } from '@protocolbanks/stream-protocol'
import { inArray, sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Db } from '../createDb.ts'
import { selectGrants } from '../grants/selectGrants.ts'
import { grantTable } from '../grants/table.ts'
import type { IndexerCursor } from '../indexer/indexer.ts'
import { indexerCursorTable } from '../indexer/table.ts'

export type ChannelKey = { grantId: Hex; payee: Address }

/** What Postgres says of one grant at one payee. Amounts in base units. */
export type ChannelBook = ChannelKey & {
  /** Undefined: the grant's row is missing. */
  grant: { account: Address; epoch: bigint; terms: GrantTerms } | undefined
  /** Of the newest voucher. */
  cumulativeAmount: bigint
  signature: Hex | null
  charged: bigint
  /** Sum of the journal's rows. */
  journal: bigint
  /** The mirror of the chain, and the block it is of. */
  settled: bigint
  settledBlock: bigint
  /** Sum of the mirrored `Settled` events. */
  events: bigint
  /** What operators gave up and nobody has paid since. */
  writtenOff: bigint
}

export type Books = {
  /** Up to where the chain is mirrored; undefined before the first block. */
  cursor: IndexerCursor | undefined
  /** In the order of their keys. */
  books: ChannelBook[]
}

export type BooksQuery = {
  /** Of the indexer, see `getCursor`. */
  cursorName: string
  grantId?: Hex | undefined
  /** These alone. */
  keys?: readonly ChannelKey[] | undefined
  /** The last key of the page before. */
  after?: ChannelKey | undefined
  limit: number
}

/** A page of books and the cursor of the mirror, all of one moment. */
export function readBooks(db: Db, query: BooksQuery): Promise<Books> {
  return db.transaction(
    async (tx) => {
      const [cursor] = await tx
        .select()
        .from(indexerCursorTable)
        .where(sql`${indexerCursorTable.name} = ${query.cursorName}`)
      const { rows } = await tx.execute<Row>(statement(query))
      const grantIds = [...new Set(rows.map(({ grant_id }) => grant_id))]
      const grants =
        grantIds.length === 0 ? [] : await selectGrants(tx, inArray(grantTable.grantId, grantIds), grantIds.length)
      const byId = new Map(grants.map((grant) => [grant.grantId, grant]))
      return {
        cursor,
        books: rows.map((row) => {
          const grant = byId.get(row.grant_id)
          return {
            grantId: row.grant_id,
            payee: getAddress(row.payee),
            grant: grant && { account: grant.account, epoch: grant.epoch, terms: grant },
            cumulativeAmount: BigInt(row.cumulative_amount),
            signature: row.signature,
            charged: BigInt(row.charged),
            journal: BigInt(row.journal),
            settled: BigInt(row.settled),
            settledBlock: BigInt(row.settled_block),
            events: BigInt(row.events),
            writtenOff: BigInt(row.written_off),
          }
        }),
      }
    },
    { isolationLevel: 'repeatable read', accessMode: 'read only' },
  )
}

type Row = {
  grant_id: Hex
  payee: string
  cumulative_amount: string
  signature: Hex | null
  charged: string
  journal: string
  settled: string
  settled_block: string
  events: string
  written_off: string
}

function statement({ grantId, keys, after, limit }: BooksQuery) {
  const conditions = [sql`true`]
  if (grantId !== undefined) conditions.push(sql`c.grant_id = ${grantId.toLowerCase()}`)
  if (after)
    conditions.push(sql`(c.grant_id, c.payee) > (${after.grantId.toLowerCase()}, ${after.payee.toLowerCase()})`)
  if (keys) {
    conditions.push(sql`(c.grant_id, c.payee) in (
      select * from unnest(
        ${sql.param(keys.map((key) => key.grantId.toLowerCase()))}::text[],
        ${sql.param(keys.map((key) => key.payee.toLowerCase()))}::text[]))`)
  }
  return sql`
    with page as materialized (
      select c.* from channel c where ${sql.join(conditions, sql` and `)}
      order by c.grant_id, c.payee limit ${limit}
    )
    select c.grant_id, c.payee, c.cumulative_amount, c.signature, c.charged, c.settled, c.settled_block,
      (select coalesce(sum(j.amount), 0) from charge j where j.grant_id = c.grant_id and j.payee = c.payee) as journal,
      (select coalesce(sum((e.data ->> 'paid')::numeric), 0) from chain_event e
        where e.grant_id = c.grant_id and e.payee = c.payee and e.name = 'Settled') as events,
      greatest(0, least(c.charged, (
        select coalesce(max(i.amount), 0) from settlement_write_off w
        join settlement s on s.id = w.settlement_id
        join settlement_item i on i.settlement_id = s.id
        where s.grant_id = c.grant_id and i.payee = c.payee)) - c.settled) as written_off
    from page c order by c.grant_id, c.payee`
}
