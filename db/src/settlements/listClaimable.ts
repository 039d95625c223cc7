import type { Address, GrantSource, Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'
import {
  collectible,
  isFree,
  isPayeeBlocked,
  isSettledBy,
  isStopping,
  skippedSince,
  writtenOff,
} from './collectible.ts'
import type { SettlementTrigger } from './settlement.ts'
import { orderByUrgency, type Urgency } from './urgency.ts'

/** `owed`: what a settlement would move now. */
export type Claimable = Urgency & { account: Address; trigger: SettlementTrigger }

export type ClaimableOptions = {
  now: Date
  /** At most so many grants, in the order of `compareUrgency`. */
  limit: number
  /** Grants that end within this are settled whatever they owe. */
  expiryMarginSeconds: number
  /** Only grants whose operations this key may sign; all of them by default. */
  settler?: Address | undefined
  /** For payees without an enabled service. 10,000,000 by default: 10 USDC. */
  defaultThreshold?: bigint | undefined
  /** The same for age; one day by default. */
  defaultMaxAgeSeconds?: number | undefined
  /** How long a claim that the chain skipped is not tried again, unless by hand. One hour by default. */
  skippedBackoffSeconds?: number | undefined
}

/** A request that found nothing to settle is forgotten after this. */
const requestTtlMs = 24 * 3_600_000

/**
 * Grants that owe enough, for long enough, end soon, or were asked for; see the architecture's settlement triggers. Only
 * such that the chain would accept now, by its mirror. Of a grant's several services the strictest counts.
 *
 * A withdrawal makes all reserve grants of the account due while it takes money that they owe: then everything is paid
 * long before its delay ends. One that leaves enough makes nothing due, or a tiny one would settle every call alone. What
 * is owed to a payee whom the token does not pay waits.
 */
export async function listClaimable(db: Queryable, options: ClaimableOptions): Promise<Claimable[]> {
  const { now, limit, expiryMarginSeconds } = options
  const { defaultThreshold = 10_000_000n, defaultMaxAgeSeconds = 86_400, skippedBackoffSeconds = 3_600 } = options
  const nowIso = now.toISOString()
  const nowSeconds = Math.floor(now.getTime() / 1_000)
  const requestedSince = new Date(now.getTime() - requestTtlMs).toISOString()
  const backoffSince = new Date(now.getTime() - skippedBackoffSeconds * 1_000)
  const { rows } = await db.execute<Row>(sql`
    with requested as (
      select grant_id, min(created_at) as since from settlement_request
      where settlement_id is null and created_at > ${requestedSince}::timestamptz
      group by grant_id
    ),
    withdrawn as (
      select a.account, a.token from account a
      join "grant" g on g.account = a.account and g.token = a.token and g.source = 'reserve'
        and g.status in ('active', 'frozen')
      join channel c on c.grant_id = g.grant_id and c.owing
      where a.reserve_withdrawing > 0
      group by a.account, a.token
      having sum(c.charged - c.settled) > greatest(a.reserve_balance - a.reserve_withdrawing, 0)
    ),
    owing as (
      select g.grant_id, g.account, g.valid_until, g.source, r.grant_id is not null as requested,
        w.account is not null as withdrawn, ${isStopping(now)} as stopping,
        least(r.since, min(c.first_unsettled_at
          + make_interval(secs => coalesce(terms.max_age_seconds, ${defaultMaxAgeSeconds})))) as due_since,
        sum(${collectible} - c.settled) as owed,
        min(coalesce(terms.threshold, ${defaultThreshold.toString()}::numeric)) as threshold,
        bool_or(c.first_unsettled_at + make_interval(secs => coalesce(terms.max_age_seconds, ${defaultMaxAgeSeconds}))
          <= ${nowIso}::timestamptz) as aged
      from channel c
      join "grant" g on g.grant_id = c.grant_id
      left join account a on a.account = g.account and a.token = g.token
      left join requested r on r.grant_id = g.grant_id
      left join withdrawn w on w.account = g.account and w.token = g.token and g.source = 'reserve'
      left join lateral (
        select min(threshold_atomic) as threshold, min(max_age_seconds) as max_age_seconds
        from service where merchant_id = c.merchant_id and token = g.token and enabled
      ) terms on true
      where c.owing and ${collectible} > c.settled and c.signature is not null
        and g.status = 'active' and g.valid_after <= ${nowSeconds} and g.valid_until >= ${nowSeconds}
        and not coalesce(a.account_frozen or a.epoch > g.epoch, false)
        and (r.grant_id is not null or not (${skippedSince(backoffSince)} or ${writtenOff}))
        and not ${isPayeeBlocked} and ${isFree} and ${isSettledBy(options.settler)}
      group by g.grant_id, r.grant_id, r.since, w.account
    ),
    triggered as (
      select *, case
        when valid_until <= ${nowSeconds + expiryMarginSeconds} then 'expiry'
        when requested then 'request'
        when withdrawn then 'withdrawal'
        when owed >= threshold then 'threshold'
        when aged then 'age' end as trigger
      from owing
    )
    select grant_id, account, trigger, stopping, valid_until, due_since, withdrawn, source, owed
    from triggered where trigger is not null
    order by ${orderByUrgency({ now, expiryMarginSeconds })}
    limit ${limit}`)
  return rows.map((row) => ({
    grantId: row.grant_id,
    account: getAddress(row.account),
    trigger: row.trigger,
    stopping: row.stopping,
    validUntil: Number(row.valid_until),
    dueSince: row.due_since === null ? null : new Date(row.due_since),
    withdrawn: row.withdrawn,
    source: row.source,
    owed: BigInt(row.owed),
  }))
}

type Row = {
  grant_id: Hex
  account: string
  trigger: SettlementTrigger
  stopping: boolean
  valid_until: string
  due_since: string | Date | null
  withdrawn: boolean
  source: GrantSource
  owed: string
}
