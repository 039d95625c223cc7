import type { Address } from '@protocolbanks/stream-protocol'
import { and, asc, eq, gt, gte, lt, or } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { grantTable } from './table.ts'

/**
 * Accounts of which a grant ended in [from, to): by its terms, or revoked. In the order of their address; `after` is the last of
 * the batch before.
 */
export async function listEndedAccounts(
  db: Queryable,
  p: { token: Address; from: Date; to: Date; after?: Address | undefined; limit: number },
): Promise<Address[]> {
  const [fromSeconds, toSeconds] = [p.from, p.to].map((at) => Math.floor(at.getTime() / 1_000)) as [number, number]
  const rows = await db
    .selectDistinct({ account: grantTable.account })
    .from(grantTable)
    .where(
      and(
        eq(grantTable.token, p.token),
        or(
          and(gte(grantTable.validUntil, fromSeconds), lt(grantTable.validUntil, toSeconds)),
          and(eq(grantTable.status, 'revoked'), gte(grantTable.updatedAt, p.from), lt(grantTable.updatedAt, p.to)),
        ),
        p.after === undefined ? undefined : gt(grantTable.account, p.after),
      ),
    )
    .orderBy(asc(grantTable.account))
    .limit(p.limit)
  return rows.map(({ account }) => account)
}
