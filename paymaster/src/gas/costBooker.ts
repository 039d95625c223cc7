import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { getAbiItem, type PublicClient } from 'viem'
import { findBlockAt } from './findBlockAt.ts'

export type CostBookerDeps = {
  chain: Pick<PublicClient, 'getBlockNumber' | 'getBlock' | 'getLogs'>
  /** Whose events count; one or more. */
  entryPoints: readonly Address[]
  /** Ours at those EntryPoints. */
  paymasters: readonly Address[]
  oldestReservation(): Promise<Date | undefined>
  /** False: unknown here, or booked already. */
  book(cost: { userOpHash: Hex; actualCostWei: bigint }): Promise<boolean>
  /** Gives back what ended before; how many. */
  expire(before: Date): Promise<number>
  onBooked(costWei: bigint): void
  clock(): number
}

export type CostBooker = {
  /** Books what the chain shows since the last step. @returns the block up to which it is booked */
  step(): Promise<bigint>
}

/** Blocks of one request for logs. */
const maxRange = 2_000n
/** Read again in every step, so that a short reorganisation is booked as it ended. Booking twice changes nothing. */
const overlap = 12n
/** Requests for logs in one step; what is left comes in the next. */
const maxRequestsPerStep = 10
/** After its end a sponsorship may still be in a block that is on its way to us. */
const expiryGraceMs = 60_000

/**
 * Books the gas of sponsored operations from the EntryPoint's events, and gives back the reservations of those that
 * never came. Its place on the chain needs no storage: nothing before the oldest open reservation matters, so it begins
 * there after a restart.
 */
export function createCostBooker(deps: CostBookerDeps): CostBooker {
  const { chain, entryPoints, paymasters, clock } = deps
  let bookedTo: bigint | undefined

  return {
    async step() {
      const startedAtMs = clock()
      const head = await chain.getBlockNumber({ cacheTime: 0 })
      bookedTo ??= await firstBlock(head)
      // A chain that is shorter than before: begin again where it ends now.
      let from = bookedTo > head ? head : bookedTo
      from = from > overlap ? from - overlap : 0n
      for (let request = 0; request < maxRequestsPerStep && from <= head; request++) {
        const to = from + maxRange - 1n < head ? from + maxRange - 1n : head
        await bookRange(from, to)
        bookedTo = to
        from = to + 1n
      }
      if (bookedTo === head) await deps.expire(new Date(startedAtMs - expiryGraceMs))
      return bookedTo
    },
  }

  async function firstBlock(head: bigint): Promise<bigint> {
    const since = await deps.oldestReservation()
    return since === undefined ? head : findBlockAt(chain, { moment: since, head })
  }

  async function bookRange(fromBlock: bigint, toBlock: bigint): Promise<void> {
    const logs = await chain.getLogs({
      address: [...entryPoints],
      event: getAbiItem({ abi: entryPointAbi, name: 'UserOperationEvent' }),
      args: { paymaster: [...paymasters] },
      fromBlock,
      toBlock,
      strict: true,
    })
    for (const { args } of logs) {
      const { userOpHash, actualGasCost } = args
      if (await deps.book({ userOpHash, actualCostWei: actualGasCost })) deps.onBooked(actualGasCost)
    }
  }
}
