import type { Address } from '@protocolbanks/stream-protocol'
import { and, inArray, ne, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../createDb.ts'
import { laneStates } from './settlement.ts'
import { settlementTable } from './table.ts'

/** Who has a lane of an account, and since when. */
export type HeldLane = { lane: number; since: Date }

export type LanePolicy = {
  now: Date
  /** What has had its lane for longer than this is stuck, and no longer keeps the account's other grants out. */
  stuckMs: number
}

/** A lane that was never used costs 17,000 gas more the first time; so there are few, and the lowest come first. */
export const maxLanes = 4

/**
 * The lane in which another settlement of the account may go now: none while one that is not stuck is under way, because
 * operations of one lane follow each other and a fresh lane costs gas. Never one that is held.
 */
export function chooseLane(held: readonly HeldLane[], { now, stuckMs }: LanePolicy): number | undefined {
  if (held.some(({ since }) => now.getTime() - since.getTime() < stuckMs)) return undefined
  const lanes = new Set(held.map(({ lane }) => lane))
  for (let lane = 0; lane < maxLanes; lane++) if (!lanes.has(lane)) return lane
  return undefined
}

/** The same by the account's rows, under a lock until the transaction ends: no two are given the same one. */
export async function takeLane(
  tx: Tx,
  { account, except, ...policy }: LanePolicy & { account: Address; except?: string | undefined },
): Promise<number | undefined> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('stream.lane'), hashtext(${account.toLowerCase()}))`)
  return chooseLane(await listHeldLanes(tx, [account], except), policy)
}

/** Which of these accounts no further settlement may begin for now. A hint: `takeLane` decides. */
export async function listBusyAccounts(
  db: Queryable,
  accounts: readonly Address[],
  policy: LanePolicy,
): Promise<Address[]> {
  if (accounts.length === 0) return []
  const held = await listHeldLanes(db, accounts)
  const busy = [...new Set(held.map(({ account }) => account))]
  return busy.filter(
    (account) =>
      chooseLane(
        held.filter((one) => one.account === account),
        policy,
      ) === undefined,
  )
}

function listHeldLanes(
  db: Queryable,
  accounts: readonly Address[],
  except?: string | undefined,
): Promise<(HeldLane & { account: Address })[]> {
  return db
    .select({ account: settlementTable.account, lane: settlementTable.lane, since: settlementTable.laneSince })
    .from(settlementTable)
    .where(
      and(
        inArray(settlementTable.account, [...accounts]),
        inArray(settlementTable.state, [...laneStates]),
        except === undefined ? undefined : ne(settlementTable.id, except),
      ),
    )
}
