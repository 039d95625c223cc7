import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { errorCodeOf } from '../errors.ts'
import { ensurePartitions, monthOf } from './ensurePartitions.ts'

/** One charge that is final, as the meter's stream brings it. Amounts in base units. */
export type ChargeEvent = {
  /** The same on every read of the event; unique with `occurredAtMs`. */
  eventId: string
  occurredAtMs: number
  account: Address
  grantId: Hex
  payee: Address
  merchantId: string
  serviceId: string
  requestId: string
  fingerprint: string
  amount: bigint
  /** The voucher that came with the request. */
  cumulativeAmount: bigint
  signature: Hex
  /** Of the request: 32 hex digits. */
  traceId?: string | undefined
  /** Keyed hash of where the call came from: 16 hex digits. */
  client?: string | undefined
}

export const maxChargesPerBatch = 1_000

/** Months whose partition was seen; a journal of one process meets one or two. */
const knownMonths = new WeakMap<object, Set<string>>()

/**
 * Appends charges to the journal and adds them to their channels, in one transaction: sum, newest voucher, since when
 * something is owed. A charge that is in the journal changes nothing, so a batch may be repeated after any failure.
 *
 * @param months those whose partition was seen, kept by the caller: inside a transaction, which may be rolled back, what is
 * added counts from its commit on. A pool remembers its own.
 * @returns how many were new
 * @throws BatchTooLargeError above 1,000 charges
 */
export async function appendCharges(
  db: Queryable,
  events: readonly ChargeEvent[],
  months: Set<string> = monthsOf(db),
): Promise<number> {
  if (events.length === 0) return 0
  if (events.length > maxChargesPerBatch) throw new BatchTooLargeError(events.length)
  const moments = events.map((event) => new Date(event.occurredAtMs))
  const unseen = moments.filter((moment) => !months.has(monthOf(moment)))
  await ensurePartitions(db, unseen)
  for (const moment of unseen) months.add(monthOf(moment))
  try {
    const { rows } = await db.execute<{ inserted: number }>(statement(events, moments))
    return rows[0]?.inserted ?? 0
  } catch (error) {
    // 23514, no partition: somebody removed one that was there. The next try makes it again.
    if (errorCodeOf(error) === '23514') months.clear()
    throw error
  }
}

// One statement is one transaction and one round trip. Rows are inserted and channels locked in one order, so that two
// writers with the same charges wait for each other instead of deadlocking.
function statement(events: readonly ChargeEvent[], moments: readonly Date[]) {
  const texts = (pick: (event: ChargeEvent) => string) => sql`${sql.param(events.map(pick))}::text[]`
  const lower = (pick: (event: ChargeEvent) => string) => texts((event) => pick(event).toLowerCase())
  const numbers = (pick: (event: ChargeEvent) => bigint) =>
    sql`${sql.param(events.map((event) => pick(event).toString()))}::numeric[]`
  return sql`
    with incoming as (
      select distinct on (occurred_at, event_id) *
      from unnest(
        ${texts((event) => event.eventId)},
        ${sql.param(moments.map((moment) => moment.toISOString()))}::timestamptz[],
        ${lower((event) => event.grantId)},
        ${lower((event) => event.payee)},
        ${lower((event) => event.account)},
        ${texts((event) => event.merchantId)},
        ${texts((event) => event.serviceId)},
        ${texts((event) => event.requestId)},
        ${texts((event) => event.fingerprint)},
        ${numbers((event) => event.amount)},
        ${numbers((event) => event.cumulativeAmount)},
        ${lower((event) => event.signature)},
        ${sql.param(events.map((event) => event.traceId ?? null))}::uuid[],
        ${sql.param(events.map((event) => event.client ?? null))}::text[]
      ) as row (
        event_id, occurred_at, grant_id, payee, account, merchant_id, service_id, request_id, fingerprint,
        amount, cumulative_amount, signature, trace_id, client
      )
      order by occurred_at, event_id
    ),
    inserted as (
      insert into charge (
        event_id, occurred_at, grant_id, payee, account, merchant_id, service_id, request_id, fingerprint,
        amount, cumulative_amount, trace_id, client
      )
      select event_id, occurred_at, grant_id, payee, account, merchant_id, service_id, request_id, fingerprint,
        amount, cumulative_amount, trace_id, client
      from incoming order by occurred_at, event_id
      on conflict (occurred_at, event_id) do nothing
      returning occurred_at, event_id
    ),
    added as (
      select grant_id, payee, min(merchant_id) as merchant_id, sum(amount) as charged,
        max(cumulative_amount) as cumulative_amount,
        (array_agg(signature order by cumulative_amount desc))[1] as signature,
        min(occurred_at) as first_at, max(occurred_at) as last_at
      from incoming join inserted using (occurred_at, event_id)
      group by grant_id, payee
      order by grant_id, payee
    ),
    channels as (
      insert into channel as c (
        grant_id, payee, merchant_id, charged, cumulative_amount, signature, first_unsettled_at, last_charge_at
      )
      select grant_id, payee, merchant_id, charged, cumulative_amount, signature,
        case when charged > 0 then first_at end, last_at
      from added
      on conflict (grant_id, payee) do update set
        merchant_id = coalesce(c.merchant_id, excluded.merchant_id),
        charged = c.charged + excluded.charged,
        signature = case when c.signature is null or excluded.cumulative_amount > c.cumulative_amount
          then excluded.signature else c.signature end,
        cumulative_amount = greatest(c.cumulative_amount, excluded.cumulative_amount),
        first_unsettled_at = case
          when c.owing then least(c.first_unsettled_at, excluded.first_unsettled_at)
          when c.charged + excluded.charged > c.settled then excluded.first_unsettled_at end,
        last_charge_at = greatest(c.last_charge_at, excluded.last_charge_at)
    )
    select count(*)::integer as inserted from inserted`
}

function monthsOf(db: Queryable): Set<string> {
  // A transaction's partitions may be rolled back, so only the pool's are remembered.
  if (!('$client' in db)) return new Set()
  const known = knownMonths.get(db) ?? new Set()
  knownMonths.set(db, known)
  return known
}

export class BatchTooLargeError extends BaseError {
  override readonly code = 'journal.batch_too_large'
  constructor(count: number) {
    super('The batch has too many charges.', {
      metaMessages: [`Charges: ${count}`, `Append at most ${maxChargesPerBatch} at a time.`],
      docsPath: '/errors#journal-batch-too-large',
    })
  }
}
