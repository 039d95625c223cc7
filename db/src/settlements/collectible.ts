import type { Address } from '@protocolbanks/stream-protocol'
import { type SQL, sql } from 'drizzle-orm'
import { openStatesSql } from './stateLists.ts'

/** A claim's amount is a uint96. */
const maxClaimAmount = (2n ** 96n - 1n).toString()

/** For rows `c` of channel: up to which cumulative amount the newest voucher and the journal let it settle. */
export const collectible: SQL = sql`least(c.charged, c.cumulative_amount, ${sql.raw(maxClaimAmount)})`

/**
 * For rows `c` of channel: whether its claim was lately refused for a reason that time does not change. What funds, limits
 * and the token refuse is asked of the chain again before anything is sent, so that it costs nothing.
 */
export function skippedSince(since: Date): SQL {
  return sql`exists (
    select from settlement s join settlement_item i on i.settlement_id = s.id
    where s.grant_id = c.grant_id and s.state = 'confirmed' and s.updated_at > ${since.toISOString()}::timestamptz
      and i.payee = c.payee and i.skipped_reason is not null
      and i.skipped_reason not in ('TransferFailed', 'TotalLimitExceeded', 'PeriodLimitExceeded')
      and i.skipped_reason not like 'claim.%')`
}

/** For rows `c` of channel and `g` of grant: whether the token does not pay this payee. */
export const isPayeeBlocked: SQL = sql`exists (
  select from payee_block b where b.token = g.token and b.payee = c.payee and b.blocked)`

/**
 * For rows `c` of channel: whether an operator gave up all that it could collect. More charges make it collectible again,
 * with what was given up: vouchers are cumulative.
 */
export const writtenOff: SQL = sql`exists (
  select from settlement_write_off w
  join settlement s on s.id = w.settlement_id
  join settlement_item i on i.settlement_id = s.id
  where s.grant_id = c.grant_id and i.payee = c.payee and i.amount >= ${collectible})`

/**
 * For rows `g` of grant: whether a settlement may begin. No other is open or dead without an operator's word, and the
 * mirror has seen the last one's block: before that it would show money as owed that has been paid.
 */
export const isFree: SQL = sql`not exists (
  select from settlement s where s.grant_id = g.grant_id and (
    s.state in ${openStatesSql}
    or (s.state = 'dead' and s.written_off_at is null)
    or (s.state = 'confirmed' and s.block_number > coalesce((select min(block_number) from indexer_cursor), -1))
  ))`

/** For rows `g` of grant: whether the sentinel waits for it to be settled before it freezes it. */
export function isStopping(now: Date): SQL {
  return sql`exists (
    select from sentinel_stop stop where stop.grant_id = g.grant_id and stop.chain_state = 'due'
      and stop.settle_until > ${now.toISOString()}::timestamptz)`
}

/** For rows `g` of grant: whether this key may sign its UserOperations. Without one: anybody may send a transaction. */
export function isSettledBy(settler: Address | undefined): SQL {
  if (settler === undefined) return sql`true`
  const key = settler.toLowerCase()
  return sql`(g.settler = ${key} or g.session_key = ${key})`
}
