import { broadcast, bumpFees, type Fees } from '@protocolbanks/stream-bundler-client'
import type { SettlementTransaction } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import {
  keccak256,
  type PublicClient,
  parseTransaction,
  TransactionNotFoundError,
  type TransactionReceipt,
  BaseError as ViemError,
} from 'viem'
import { findReceipt } from '../worker/findOutcomes.ts'
import { firstLine } from '../worker/judgeFailure.ts'
import type { CrashPoint } from '../worker/verdict.ts'
import { decideTransaction, type TransactionPolicy, type TransactionView } from './decideTransaction.ts'
import type { TransactionStore } from './transactionStore.ts'

export type DriveDeps = TransactionPolicy & {
  chain: Pick<
    PublicClient,
    | 'getBlockNumber'
    | 'getTransactionCount'
    | 'getTransactionReceipt'
    | 'getTransaction'
    | 'sendRawTransaction'
    | 'estimateFeesPerGas'
  >
  sender: Sender
  store: Pick<TransactionStore, 'record' | 'sent' | 'included' | 'recordedFrom'>
  /** Wei. */
  maxFeePerGas: bigint
  pollMs: number
  /** One look at a transaction ends after this. */
  inclusionTimeoutMs: number
  clock(): number
  crashPoint: CrashPoint
  logger: Logger
}

/** Who pays the gas. */
export type Sender = { address: Address; signTransaction(transaction: TransactionRequest): Promise<Hex> }

export type TransactionRequest = Fees & {
  type: 'eip1559'
  chainId: number
  nonce: number
  to: Address
  data: Hex
  value: bigint
  gas: bigint
}

/** A recorded transaction: at least one version of it may have been sent. */
export type RecordedTransaction = Pick<SettlementTransaction, 'id' | 'hashes' | 'sentAt'> & {
  nonce: number
  rawTransaction: Hex
}

export type DriveEnd =
  | { kind: 'included'; receipt: TransactionReceipt }
  | { kind: 'lost' }
  /** The time is over, or `signal` aborted. It can still be included. */
  | { kind: 'pending' }

/** Versions under one nonce. Each costs an eighth more than the one before, so that the fee limit ends it earlier. */
const maxVersions = 48

/**
 * Sends a transaction and sees it through until it is included deep enough or its nonce is taken for good: what was
 * dropped is sent again, what is stuck is replaced under the same nonce. A chain that does not answer only takes time.
 *
 * @throws LeaseLostError, and what the database says
 */
export async function driveTransaction(
  recorded: RecordedTransaction,
  deps: DriveDeps,
  signal: AbortSignal,
): Promise<DriveEnd> {
  const { chain, sender, store, logger, clock, pollMs } = deps
  const deadline = performance.now() + deps.inclusionTimeoutMs
  let transaction = recorded
  let complaint: string | undefined
  let block: Hex | undefined

  while (!signal.aborted && performance.now() < deadline) {
    try {
      const { view, receipt } = await look(transaction, deps)
      await noteBlock(receipt)
      const step = decideTransaction(transaction.nonce, view, deps)
      if (step === 'finish' && receipt) return { kind: 'included', receipt }
      if (step === 'lose') return { kind: 'lost' }
      if (step === 'send') await send()
      if (step === 'fill') await fill(view.nonce)
      if (step === 'replace') await replace()
      if (step === 'wait') complaint = undefined
    } catch (error) {
      if (!(error instanceof ViemError)) throw error
      complain("the chain's RPC did not answer as it should; looking again", firstLine(error))
    }
    await pause(pollMs, signal)
  }
  return { kind: 'pending' }

  /** Writes down once in which block it is, or that it no longer is. */
  async function noteBlock(receipt: TransactionReceipt | undefined): Promise<void> {
    if (receipt?.blockHash === block) return
    const included = receipt && { txHash: receipt.transactionHash, blockNumber: receipt.blockNumber }
    await store.included(transaction.id, included)
    block = receipt?.blockHash
    if (receipt) deps.crashPoint('settlement.included')
  }

  async function send(): Promise<void> {
    const answer = await broadcast(chain, transaction.rawTransaction)
    const { id, nonce, sentAt } = transaction
    const hash = transaction.hashes.at(-1)
    if (answer === 'taken') {
      deps.crashPoint('settlement.sent')
      await store.sent(id)
      deps.crashPoint('settlement.submitted')
      logger.info({ transaction: id, nonce, hash, again: sentAt !== null }, 'submitted')
      transaction = { ...transaction, sentAt: sentAt ?? new Date(clock()) }
      complaint = undefined
    } else if (answer === 'underpriced') {
      await replace()
    } else if (answer === 'no_funds') {
      complain('the sender cannot pay for the gas: send ether to it', sender.address)
    }
    // A used nonce shows at the next look: as our receipt, or as somebody else's.
  }

  async function replace(): Promise<void> {
    const { id, nonce, rawTransaction, hashes } = transaction
    const before = parseTransaction(rawTransaction)
    const { maxFeePerGas = 0n, maxPriorityFeePerGas = 0n, gas = 0n, to, data = '0x', chainId = 0 } = before
    const market = await chain.estimateFeesPerGas()
    const fees = bumpFees({ maxFeePerGas, maxPriorityFeePerGas }, market, deps.maxFeePerGas)
    if (!fees || !to || hashes.length >= maxVersions) {
      complain('the transaction is stuck, and its fees are at their limit; it waits', `${maxFeePerGas} wei per gas`)
      // It may have been dropped.
      await broadcast(chain, rawTransaction)
      return
    }
    const version = await signTransaction(sender, { chainId, nonce, to, data, gas, ...fees })
    await store.record(id, { nonce, ...version })
    logger.warn({ transaction: id, nonce, hash: version.hash, ...toText(fees) }, 'stuck; replaced with higher fees')
    transaction = { ...transaction, ...version, hashes: [...hashes, version.hash], sentAt: null }
  }

  /** A reorganisation took earlier transactions back. They pay what they paid before, and make room for this one. */
  async function fill(from: number): Promise<void> {
    const earlier = await store.recordedFrom(from, transaction.nonce)
    for (const raw of earlier) await broadcast(chain, raw)
    await broadcast(chain, transaction.rawTransaction)
    complain('earlier transactions of the sender are gone from the chain', `${earlier.length} sent again, from ${from}`)
  }

  /** Once, until something else happens: the loop runs many times a minute. */
  function complain(words: string, detail: string): void {
    if (complaint !== words) logger.error({ transaction: transaction.id, detail }, words)
    complaint = words
  }
}

/** @returns what is recorded and sent */
export async function signTransaction(
  sender: Sender,
  request: Omit<TransactionRequest, 'type' | 'value'>,
): Promise<{ rawTransaction: Hex; hash: Hex }> {
  const rawTransaction = await sender.signTransaction({ type: 'eip1559', value: 0n, ...request })
  return { rawTransaction, hash: keccak256(rawTransaction) }
}

async function look(
  { nonce, hashes, sentAt }: RecordedTransaction,
  { chain, sender, confirmations, clock }: DriveDeps,
): Promise<{ view: TransactionView; receipt: TransactionReceipt | undefined }> {
  const { address } = sender
  const head = await chain.getBlockNumber({ cacheTime: 0 })
  const depth = BigInt(confirmations - 1)
  const finalNonce = await chain.getTransactionCount({ address, blockNumber: head > depth ? head - depth : 0n })
  const next = await chain.getTransactionCount({ address, blockTag: 'latest' })
  // Not included while the nonce is free, so nothing has to be asked about each version.
  const receipt = next > nonce ? await findFirst(hashes, (hash) => findReceipt(chain, hash)) : undefined
  const newest = hashes.at(-1)
  const isKnown = next <= nonce && newest !== undefined && (await hasTransaction(chain, newest))
  const sentAgoMs = sentAt === null ? undefined : clock() - sentAt.getTime()
  const view = { head, nonce: next, finalNonce, includedIn: receipt?.blockNumber, isKnown, sentAgoMs }
  return { view, receipt }
}

/** The newest first: it is the likeliest. */
async function findFirst<T>(
  hashes: readonly Hex[],
  find: (hash: Hex) => Promise<T | undefined>,
): Promise<T | undefined> {
  for (const hash of hashes.toReversed()) {
    const found = await find(hash)
    if (found !== undefined) return found
  }
  return undefined
}

async function hasTransaction(chain: Pick<PublicClient, 'getTransaction'>, hash: Hex): Promise<boolean> {
  try {
    await chain.getTransaction({ hash })
    return true
  } catch (error) {
    if (error instanceof TransactionNotFoundError) return false
    throw error
  }
}

function toText({ maxFeePerGas, maxPriorityFeePerGas }: Fees) {
  return { maxFeePerGas: maxFeePerGas.toString(), maxPriorityFeePerGas: maxPriorityFeePerGas.toString() }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', finish)
      resolve()
    }
    const timer = setTimeout(finish, ms)
    signal.addEventListener('abort', finish, { once: true })
    if (signal.aborted) finish()
  })
}
