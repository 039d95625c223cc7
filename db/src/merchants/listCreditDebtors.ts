import type { Address } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'

/** Accounts that owe the merchant on credit by the journal, in the order of their addresses, after `after`. */
export async function listCreditDebtors(
  db: Queryable,
  p: { merchantId: string; token: Address; after?: Address | undefined; limit: number },
): Promise<Address[]> {
  const { rows } = await db.execute<{ account: string }>(sql`
    select distinct g.account from channel c join "grant" g on g.grant_id = c.grant_id
    where c.merchant_id = ${p.merchantId} and c.owing
      and g.token = ${p.token.toLowerCase()} and g.source = 'allowance' and g.account > ${p.after?.toLowerCase() ?? ''}
    order by g.account limit ${p.limit}`)
  return rows.map(({ account }) => getAddress(account))
}
