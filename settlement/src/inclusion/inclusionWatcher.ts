import { UserOperationTimeoutError } from '@protocolbanks/stream-bundler-client'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { getAbiItem, type PublicClient, type TransactionReceipt } from 'viem'

/** Waits for UserOperations to be included, many at once with one question to the chain a time. */
export type InclusionWatcher = {
  /**
   * @param fromBlock it was not included before
   * @throws UserOperationTimeoutError when the time is over, or `signal` aborts. It can still be included.
   */
  wait(
    userOpHash: Hex,
    options: { fromBlock: bigint; timeoutMs: number; signal: AbortSignal },
  ): Promise<TransactionReceipt>
  /** Resolves once the chain has this block; false when the time is over, or `signal` aborts. */
  waitForBlock(blockNumber: bigint, options: { timeoutMs: number; signal: AbortSignal }): Promise<boolean>
  close(): void
}

export type InclusionWatcherOptions = {
  chain: Pick<PublicClient, 'getLogs' | 'getTransactionReceipt' | 'getBlockNumber'>
  /** Whose events are looked for; one or more. */
  entryPoints: readonly Address[]
  pollMs: number
  onError(error: unknown): void
}

type WaitingForBlock = { blockNumber: bigint; reached(): void }

type Waiting = { userOpHash: Hex; fromBlock: bigint; found(receipt: TransactionReceipt): void }

/** Hashes of one request; what is above it waits for the next. */
const maxHashes = 100

export function createInclusionWatcher({
  chain,
  entryPoints,
  pollMs,
  onError,
}: InclusionWatcherOptions): InclusionWatcher {
  const waiting = new Set<Waiting>()
  const waitingForBlock = new Set<WaitingForBlock>()
  let timer: NodeJS.Timeout | undefined
  let closed = false

  async function lookAtHead(): Promise<void> {
    if (waitingForBlock.size === 0) return
    const head = await chain.getBlockNumber({ cacheTime: 0 })
    for (const one of [...waitingForBlock]) if (one.blockNumber <= head) one.reached()
  }

  async function look(): Promise<void> {
    if (waiting.size === 0) return
    // A Set keeps its order: those who were looked for go to the end, so that nobody starves.
    const batch = [...waiting].slice(0, maxHashes)
    for (const one of batch) if (waiting.delete(one)) waiting.add(one)
    const logs = await chain.getLogs({
      address: [...entryPoints],
      event: getAbiItem({ abi: entryPointAbi, name: 'UserOperationEvent' }),
      args: { userOpHash: batch.map(({ userOpHash }) => userOpHash) },
      fromBlock: batch.map(({ fromBlock }) => fromBlock).sort((a, b) => Number(a - b))[0] ?? 0n,
      strict: true,
    })
    for (const { transactionHash, args } of logs) {
      const receipt = await chain.getTransactionReceipt({ hash: transactionHash })
      for (const one of batch) if (one.userOpHash === args.userOpHash) one.found(receipt)
    }
  }

  function schedule(): void {
    if (timer || closed || waiting.size + waitingForBlock.size === 0) return
    timer = setTimeout(async () => {
      await Promise.all([look(), lookAtHead()]).catch(onError)
      timer = undefined
      schedule()
    }, pollMs)
  }

  return {
    wait(userOpHash, { fromBlock, timeoutMs, signal }) {
      const startedAt = performance.now()
      return new Promise((resolve, reject) => {
        const finish = () => {
          waiting.delete(one)
          clearTimeout(timeout)
          signal.removeEventListener('abort', giveUp)
        }
        const giveUp = () => {
          finish()
          reject(new UserOperationTimeoutError({ userOpHash, waitedMs: Math.round(performance.now() - startedAt) }))
        }
        const one: Waiting = {
          userOpHash,
          fromBlock,
          found: (receipt) => {
            finish()
            resolve(receipt)
          },
        }
        const timeout = setTimeout(giveUp, timeoutMs)
        signal.addEventListener('abort', giveUp, { once: true })
        waiting.add(one)
        if (signal.aborted) giveUp()
        schedule()
      })
    },
    waitForBlock(blockNumber, { timeoutMs, signal }) {
      return new Promise((resolve) => {
        const finish = (isReached: boolean) => {
          waitingForBlock.delete(one)
          clearTimeout(timeout)
          signal.removeEventListener('abort', giveUp)
          resolve(isReached)
        }
        const giveUp = () => finish(false)
        const one: WaitingForBlock = { blockNumber, reached: () => finish(true) }
        const timeout = setTimeout(giveUp, timeoutMs)
        signal.addEventListener('abort', giveUp, { once: true })
        waitingForBlock.add(one)
        if (signal.aborted) giveUp()
        schedule()
      })
    },
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}
