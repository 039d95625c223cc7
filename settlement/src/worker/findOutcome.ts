import { readSettlementOutcome, type SettlementOutcome, type SettlementRef } from '@protocolbanks/stream-bundler-client'
import type { Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { getAbiItem, type PublicClient } from 'viem'

export type FoundOutcome = { userOpHash: Hex; outcome: SettlementOutcome }

/**
 * What became of any of a settlement's UserOperations, asked of the chain. All attempts have one nonce or follow each
 * other, and the module pays only what is new: if several were included, the one that paid is the outcome.
 */
export async function findOutcome(
  chain: Pick<PublicClient, 'getLogs' | 'getTransactionReceipt'>,
  ref: Omit<SettlementRef, 'userOpHash'>,
  { userOpHashes, fromBlock }: { userOpHashes: readonly Hex[]; fromBlock: bigint },
): Promise<FoundOutcome | undefined> {
  if (userOpHashes.length === 0) return undefined
  const logs = await chain.getLogs({
    address: ref.entryPoint,
    event: getAbiItem({ abi: entryPointAbi, name: 'UserOperationEvent' }),
    args: { userOpHash: [...userOpHashes] },
    fromBlock,
    strict: true,
  })
  const found: FoundOutcome[] = []
  for (const { transactionHash, args } of logs) {
    const receipt = await chain.getTransactionReceipt({ hash: transactionHash })
    const outcome = readSettlementOutcome(receipt, { ...ref, userOpHash: args.userOpHash })
    if (outcome) found.push({ userOpHash: args.userOpHash, outcome })
  }
  return found.find(({ outcome }) => hasPaid(outcome)) ?? found.find(({ outcome }) => outcome.success) ?? found.at(-1)
}

/** Whether it moved anything. */
export function hasPaid(outcome: SettlementOutcome): boolean {
  return outcome.success && outcome.claims.some(({ paid }) => paid > 0n)
}
