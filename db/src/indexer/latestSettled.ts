import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { chainEventTable } from './table.ts'

/** What the payee has got under the grant, by its newest `Settled` event; 0n without one. Base units. */
export async function latestSettled(db: Queryable, grantId: Hex, payee: Address): Promise<bigint> {
  const [event] = await db
    .select({ data: chainEventTable.data })
    .from(chainEventTable)
    .where(
      and(eq(chainEventTable.grantId, grantId), eq(chainEventTable.name, 'Settled'), eq(chainEventTable.payee, payee)),
    )
    .orderBy(desc(chainEventTable.blockNumber), desc(chainEventTable.logIndex))
    .limit(1)
  return BigInt(String(event?.data.settled ?? 0))
}
