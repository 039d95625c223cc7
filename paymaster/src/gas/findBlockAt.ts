import type { PublicClient } from 'viem'

/** The clock of a reservation may be ahead of the chain's by this. */
const marginSeconds = 60n

/**
 * The last block that is safely older than `moment`; 0 when none is. By bisection: at most as many requests as the
 * head's number has bits.
 */
export async function findBlockAt(
  chain: Pick<PublicClient, 'getBlock'>,
  { moment, head }: { moment: Date; head: bigint },
): Promise<bigint> {
  const wanted = BigInt(Math.floor(moment.getTime() / 1_000)) - marginSeconds
  let low = 0n
  let high = head
  // Invariant: `low` is older than wanted or 0, everything above `high` is not older.
  while (low < high) {
    const middle = (low + high + 1n) / 2n
    const { timestamp } = await chain.getBlock({ blockNumber: middle })
    if (timestamp < wanted) low = middle
    else high = middle - 1n
  }
  return low
}
