import type { Address } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { collectible, isFree, skippedSince, writtenOff } from '../settlements/collectible.ts'

export type ExposedSettlementsOptions = {
  now: Date
  token: Address
  /** What one grant, and one account, may owe to all payees on credit; undefined is no limit. Base units. */
  maxPerGrant?: bigint | undefined
  maxPerAccount?: bigint | undefined
  /** At most so many grants, the largest debts first. */
  limit: number
}

/** Who asked, in `settlement_request`. */
export const exposureActor = 'exposure limits'

/** As long as for claims that nobody asked for. */
const skippedBackoffMs = 3_600_000

/**
 * Asks for a settlement of the grants whose debt on credit takes up half or more of a limit: their own, their account's,
 * or the merchant's over all accounts. So service goes on before a limit is reached. What was asked for already, what is
 * being settled, and what the chain refuses is left out. Answers how many were asked for.
 */
export async function requestExposedSettlements(db: Queryable, options: ExposedSettlementsOptions): Promise<number> {
  const { now, token, maxPerGrant, maxPerAccount, limit } = options
  const backoffSince = new Date(now.getTime() - skippedBackoffMs)
  const ids = Array.from({ length: limit }, () => newId('srq'))
  const bound = (max: bigint | undefined) => sql`${max?.toString() ?? null}::numeric`
  const { rows } = await db.execute<{ grant_id: string }>(sql`
    with owing as (
      select c.grant_id, c.merchant_id, g.account, c.charged - c.settled as owed,
        ${collectible} > c.settled and c.signature is not null and g.status = 'active'
          and not (${skippedSince(backoffSince)} or ${writtenOff}) and ${isFree}
          and not exists (select from settlement_request r
            where r.grant_id = c.grant_id and r.settlement_id is null) as is_payable
      from channel c join "grant" g on g.grant_id = c.grant_id
      where c.owing and g.source = 'allowance' and g.token = ${token.toLowerCase()}
        and (${maxPerGrant !== undefined || maxPerAccount !== undefined}
          or c.merchant_id in (select merchant_id from merchant_credit
            where coalesce(max_total, max_per_account, max_per_grant) is not null))
    ),
    summed as (
      select o.*,
        sum(owed) over (partition by o.grant_id) as of_grant,
        sum(owed) over (partition by o.account) as of_account,
        sum(owed) over (partition by o.account, o.merchant_id) as of_account_here,
        sum(owed) over (partition by o.merchant_id) as of_merchant,
        m.max_total, m.max_per_account, m.max_per_grant
      from owing o left join merchant_credit m on m.merchant_id = o.merchant_id
    ),
    exposed as (
      select grant_id, max(owed) as owed from summed
      where is_payable and (owed * 2 >= max_per_grant or of_account_here * 2 >= max_per_account
        or of_merchant * 2 >= max_total or of_grant * 2 >= ${bound(maxPerGrant)} or of_account * 2 >= ${bound(maxPerAccount)})
      group by grant_id order by max(owed) desc, grant_id limit ${limit}
    )
    insert into settlement_request (id, grant_id, merchant_id, actor)
    select (${sql.param(ids)}::text[])[row_number() over ()], grant_id, null, ${exposureActor} from exposed
    on conflict (grant_id, merchant_id) where settlement_id is null do nothing
    returning grant_id`)
  return rows.length
}
