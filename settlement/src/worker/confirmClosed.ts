import type { Confirmation, SettlementWork } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { PublicClient } from 'viem'
import { attemptsOf, findOutcomes } from './findOutcomes.ts'
import { judgeOutcome } from './judgeOutcome.ts'
import { mergeOutcomes } from './mergeOutcomes.ts'

export type ConfirmClosedDeps = {
  /** Settlements that a reorganisation closed, whose operations can still be included. */
  listClosed(): Promise<SettlementWork[]>
  confirm(id: string, confirmation: Omit<Confirmation, 'id' | 'owner'>): Promise<boolean>
  chain: Pick<PublicClient, 'getBlockNumber' | 'getLogs' | 'getTransactionReceipt'>
  entryPoints: readonly Address[]
  module: Address
  confirmations: number
  lookbackBlocks: bigint
  logger: Logger
}

/**
 * A settlement that a reorganisation took back, while its grant went on with another, is over for us and not for the
 * bundler: its operation may be included again. What that paid belongs to it, so that settlements tell of all payments.
 */
export async function confirmClosed(deps: ConfirmClosedDeps): Promise<void> {
  const { chain, entryPoints, module, logger } = deps
  const closed = await deps.listClosed()
  if (closed.length === 0) return
  const head = await chain.getBlockNumber({ cacheTime: 0 })
  const fromBlock = head > deps.lookbackBlocks ? head - deps.lookbackBlocks : 0n
  for (const work of closed) {
    const { id, account, grantId } = work.settlement
    const ref = { entryPoints, module, account, grantId }
    const found = mergeOutcomes(await findOutcomes(chain, ref, { ...attemptsOf(work), fromBlock }))
    if (!found?.outcome.success || found.outcome.claims.every(({ paid }) => paid === 0n)) continue
    if (head - found.outcome.blockNumber + 1n < BigInt(deps.confirmations)) continue
    const verdict = judgeOutcome(work, found, { isFirst: false })
    if (verdict.do !== 'confirm' || !(await deps.confirm(id, verdict.confirmation))) continue
    const { txHash, blockNumber } = verdict.confirmation
    logger.info({ settlement: id, grantId, txHash, blockNumber: `${blockNumber}` }, 'included again; confirmed')
  }
}
