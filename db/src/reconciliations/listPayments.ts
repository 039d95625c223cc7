import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'

/** Where a page of payments ends. */
export type PaymentCursor = { blockNumber: bigint; logIndex: number }

/** A mirrored `Settled` event: the module says that it moved `paid` base units. */
export type Payment = PaymentCursor & {
  blockHash: Hex
  txHash: Hex
  grantId: Hex
  account: Address
  payee: Address
  paid: bigint
}

export type PaymentsQuery = {
  /** Of grants in this token alone: the mirror has those of others too. */
  token: Address
  grantId?: Hex | undefined
  /** Blocks in (`above`, `upTo`]. */
  above: bigint
  upTo: bigint
  after?: PaymentCursor | undefined
  limit: number
}

/** In the chain's order. */
export async function listPayments(db: Queryable, query: PaymentsQuery): Promise<Payment[]> {
  const { token, grantId, above, upTo, after, limit } = query
  const { rows } = await db.execute<{
    block_number: string
    block_hash: Hex
    log_index: number
    tx_hash: Hex
    grant_id: Hex
    account: string
    payee: string
    paid: string
  }>(sql`
    select e.block_number, e.block_hash, e.log_index, e.tx_hash, e.grant_id, e.account, e.payee,
      e.data ->> 'paid' as paid
    from chain_event e join "grant" g on g.grant_id = e.grant_id
    where e.name = 'Settled' and g.token = ${token.toLowerCase()} and e.block_number > ${above.toString()} and e.block_number <= ${upTo.toString()}
      ${grantId === undefined ? sql`` : sql`and e.grant_id = ${grantId.toLowerCase()}`}
      ${after === undefined ? sql`` : sql`and (e.block_number, e.log_index) > (${after.blockNumber.toString()}, ${after.logIndex})`}
    order by e.block_number, e.log_index
    limit ${limit}`)
  return rows.map((row) => ({
    blockNumber: BigInt(row.block_number),
    blockHash: row.block_hash,
    logIndex: row.log_index,
    txHash: row.tx_hash,
    grantId: row.grant_id,
    account: getAddress(row.account),
    payee: getAddress(row.payee),
    paid: BigInt(row.paid),
  }))
}

/** What a confirmed settlement says it paid, and what the module's events of its transaction say. Base units. */
export type UnprovenPayment = {
  settlementId: string
  grantId: Hex
  payee: Address
  paid: bigint
  events: bigint
  txHash: Hex
}

/**
 * Claims of confirmed settlements whose payment is not what the events of their transaction say. One that was sent more
 * than once may have been paid by several transactions: it may say more. Those of lowest id first.
 */
export async function listUnprovenPayments(
  db: Queryable,
  { grantId, above, upTo, limit }: { grantId?: Hex | undefined; above: bigint; upTo: bigint; limit: number },
): Promise<UnprovenPayment[]> {
  const { rows } = await db.execute<{
    id: string
    grant_id: Hex
    payee: string
    paid: string
    events: string
    tx_hash: Hex
  }>(sql`
    select s.id, s.grant_id, i.payee, coalesce(i.paid, 0) as paid, told.paid as events, s.tx_hash
    from settlement s
    join settlement_item i on i.settlement_id = s.id
    cross join lateral (
      select coalesce(sum((e.data ->> 'paid')::numeric), 0) as paid from chain_event e
      where e.grant_id = s.grant_id and e.block_number = s.block_number and e.tx_hash = s.tx_hash
        and e.payee = i.payee and e.name = 'Settled'
    ) told
    where s.state = 'confirmed' and s.block_number > ${above.toString()} and s.block_number <= ${upTo.toString()}
      ${grantId === undefined ? sql`` : sql`and s.grant_id = ${grantId.toLowerCase()}`}
      and (coalesce(i.paid, 0) < told.paid or coalesce(i.paid, 0) > told.paid
        and cardinality(s.earlier_user_op_hashes) = 0
        and (select count(*) from settlement_transaction_member m where m.settlement_id = s.id) < 2)
    order by s.id, i.payee
    limit ${limit}`)
  return rows.map((row) => ({
    settlementId: row.id,
    grantId: row.grant_id,
    payee: getAddress(row.payee),
    paid: BigInt(row.paid),
    events: BigInt(row.events),
    txHash: row.tx_hash,
  }))
}
