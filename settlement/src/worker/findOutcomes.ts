import {
  readSettleManyOutcome,
  readSettlementOutcome,
  type SettlementOutcome,
  type SettlementRef,
} from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { getAbiItem, type PublicClient, type TransactionReceipt, TransactionReceiptNotFoundError } from 'viem'

/** `userOpHash`: null for an ordinary transaction. */
export type FoundOutcome = { userOpHash: Hex | null; outcome: SettlementOutcome }

/** All that was ever recorded to be sent for a settlement. Of a transaction each version. */
export type Attempts = { userOpHashes: readonly Hex[]; transactionHashes: readonly Hex[]; count: number }

/** `count`: how often it was built. A transaction that replaces another under its nonce has the same claims. */
export function attemptsOf({ settlement, transactions }: SettlementWork): Attempts {
  const { userOpHash, earlierUserOpHashes } = settlement
  const userOpHashes = [...earlierUserOpHashes, ...(userOpHash ? [userOpHash] : [])]
  return {
    userOpHashes,
    transactionHashes: transactions.flatMap(({ hashes }) => hashes),
    count: userOpHashes.length + transactions.length,
  }
}

/** A settlement, wherever its operations ran. */
export type OutcomeRef = Omit<SettlementRef, 'entryPoint' | 'userOpHash'> & { entryPoints: readonly Address[] }

/** What an operation did, at whichever EntryPoint it ran; undefined when the transaction does not contain it. */
export function readOutcome(
  receipt: TransactionReceipt,
  { entryPoints, ...ref }: OutcomeRef & { userOpHash: Hex },
): SettlementOutcome | undefined {
  for (const entryPoint of entryPoints) {
    const outcome = readSettlementOutcome(receipt, { ...ref, entryPoint })
    if (outcome) return outcome
  }
  return undefined
}

/** What the chain says of every attempt that was included, in the chain's order. */
export async function findOutcomes(
  chain: Pick<PublicClient, 'getLogs' | 'getTransactionReceipt'>,
  ref: OutcomeRef,
  { userOpHashes, transactionHashes, fromBlock }: Omit<Attempts, 'count'> & { fromBlock: bigint },
): Promise<FoundOutcome[]> {
  const found: FoundOutcome[] = []
  if (userOpHashes.length > 0) {
    const logs = await chain.getLogs({
      address: [...ref.entryPoints],
      event: getAbiItem({ abi: entryPointAbi, name: 'UserOperationEvent' }),
      args: { userOpHash: [...userOpHashes] },
      fromBlock,
      strict: true,
    })
    for (const { transactionHash, args } of logs) {
      const receipt = await chain.getTransactionReceipt({ hash: transactionHash })
      const outcome = readOutcome(receipt, { ...ref, userOpHash: args.userOpHash })
      if (outcome) found.push({ userOpHash: args.userOpHash, outcome })
    }
  }
  for (const hash of transactionHashes) {
    const receipt = await findReceipt(chain, hash)
    if (!receipt) continue
    const { module, account, grantId } = ref
    const [outcome] = readSettleManyOutcome(receipt, { module, settlements: [{ account, grantId }] })
    if (outcome) found.push({ userOpHash: null, outcome })
  }
  return found.toSorted((a, b) => Number(a.outcome.blockNumber - b.outcome.blockNumber))
}

/** Undefined when it is not included. */
export async function findReceipt(
  chain: Pick<PublicClient, 'getTransactionReceipt'>,
  hash: Hex,
): Promise<TransactionReceipt | undefined> {
  try {
    return await chain.getTransactionReceipt({ hash })
  } catch (error) {
    if (error instanceof TransactionReceiptNotFoundError) return undefined
    throw error
  }
}
