import { broadcast, bumpFees, type Fees } from '@protocolbanks/stream-bundler-client'
import {
  type Db,
  type HeldX402Payment,
  listOpenX402Transactions,
  recordX402Transaction,
  replaceX402Transaction,
  type X402Transaction,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import {
  keccak256,
  type PrivateKeyAccount,
  type PublicClient,
  parseTransaction,
  type TransactionReceipt,
  TransactionReceiptNotFoundError,
} from 'viem'

export type RelayerDeps = {
  db: Db
  client: PublicClient
  account: PrivateKeyAccount
  chainId: number
  /** Wei. Nothing is sent while the chain asks for more. */
  maxFeePerGas: bigint
  /** What waits longer than this is replaced with higher fees under the same nonce. */
  stuckMs: number
  clock(): number
  logger: Logger
  /** Named places where a test ends the process. */
  crashPoint(name: string): void
}

export type Outgoing = HeldX402Payment & {
  purpose: X402Transaction['purpose']
  to: Address
  data: Hex
  gas: bigint
}

export type Relayer = ReturnType<typeof createRelayer>

/** Transactions of the sender that are looked at in one tick. */
const maxOpen = 64
/** Versions under one nonce. */
const maxVersions = 32
/** A transaction that no block has after this is sent again as it is: a node may have dropped it. */
const resendMs = 5_000
/** What a transfer costs at most, to say whether the sender can pay for the next. */
const gasOfTransfer = 300_000n

/**
 * Sends with one key, from any number of gateways at once: the sender's nonces are given out in Postgres, together with
 * the record of the signed transaction, so that no nonce is used twice and none is left out. Whoever runs sends again what
 * a node dropped and raises the fees of what is stuck, its own and that of processes that are gone.
 */
export function createRelayer(deps: RelayerDeps) {
  const { db, client, account, logger, clock } = deps
  const sender = account.address
  const waiting = new Map<string, Waiter>()
  let chainNonce: number | undefined
  let market: { fees: Fees; at: number } | undefined
  let balance: bigint | undefined
  let headSeen = 0n
  let complaint: string | undefined

  return {
    address: sender,
    canSend,
    send,
    waitFor,
    tick,
    look,
    feePerGas: () => market?.fees.maxFeePerGas,
    balance: () => balance,
  }

  /** The chain was seen, its fees are below the limit, and the sender can pay for as many as wait and one more. */
  function canSend(): boolean {
    if (chainNonce === undefined || !market || balance === undefined) return false
    const { maxFeePerGas } = market.fees
    return maxFeePerGas <= deps.maxFeePerGas && balance >= maxFeePerGas * gasOfTransfer * BigInt(waiting.size + 1)
  }

  /** Records and sends. Undefined when the payment's lease is no longer ours. */
  async function send({ id, owner, purpose, to, data, gas }: Outgoing): Promise<X402Transaction | undefined> {
    const fees = market?.fees
    if (!fees || chainNonce === undefined) throw new Error('The relayer has not seen the chain.')
    const transaction = await recordX402Transaction(db, {
      id,
      owner,
      purpose,
      sender,
      now: new Date(clock()),
      chainNonce,
      sign: (nonce) => sign({ nonce, to, data, gas, ...fees }),
    })
    if (!transaction) return undefined
    deps.crashPoint('exact.recorded')
    await deliver(transaction)
    deps.crashPoint('exact.sent')
    return transaction
  }

  /** The receipt, or undefined when there is none in time. */
  function waitFor(transaction: X402Transaction, timeoutMs: number): Promise<TransactionReceipt | undefined> {
    return new Promise((resolve) => {
      const finish = (receipt: TransactionReceipt | undefined) => {
        clearTimeout(timer)
        waiting.delete(transaction.id)
        resolve(receipt)
      }
      const timer = setTimeout(() => finish(undefined), timeoutMs)
      waiting.set(transaction.id, { hashes: transaction.hashes, finish })
      // Where a block comes with each transaction, it is there already.
      void findReceipts([...waiting.entries()].filter(([id]) => id === transaction.id))
    })
  }

  /** Looks whether a new block has what is waited for. Called often; costs one request as long as there is none. */
  async function look(): Promise<void> {
    if (waiting.size === 0) return
    const head = await client.getBlockNumber({ cacheTime: 0 })
    if (head === headSeen) return
    headSeen = head
    await findReceipts([...waiting.entries()])
  }

  async function findReceipts(entries: readonly (readonly [string, Waiter])[]): Promise<void> {
    await Promise.all(
      entries.map(async ([, { hashes, finish }]) => {
        for (const hash of hashes.toReversed()) {
          const receipt = await findReceipt(client, hash).catch(() => undefined)
          if (receipt) return finish(receipt)
        }
      }),
    )
  }

  /** Reads fees, balance and nonce, and sees to what is not included. @throws what viem and the database say */
  async function tick(): Promise<void> {
    const [next, fees, funds] = await Promise.all([
      client.getTransactionCount({ address: sender, blockTag: 'latest' }),
      client.estimateFeesPerGas(),
      client.getBalance({ address: sender }),
    ])
    chainNonce = next
    balance = funds
    const { maxFeePerGas, maxPriorityFeePerGas } = fees
    market = { fees: { maxFeePerGas, maxPriorityFeePerGas }, at: clock() }
    if (!canSend())
      complain('payments by exact cannot be settled now: the fees or the balance of the relayer', {
        maxFeePerGas: `${maxFeePerGas}`,
        balance: `${funds}`,
        relayer: sender,
      })
    else complaint = undefined
    const open = await listOpenX402Transactions(db, { sender, fromNonce: next, limit: maxOpen })
    for (const transaction of open) {
      const waiter = waiting.get(transaction.id)
      if (waiter) waiter.hashes = transaction.hashes
      const ageMs = clock() - transaction.signedAt.getTime()
      // Those behind the first wait for it, not for higher fees.
      if (transaction.nonce === next && ageMs > deps.stuckMs) await replace(transaction)
      else if (ageMs > resendMs) await deliver(transaction)
    }
  }

  async function replace(transaction: X402Transaction): Promise<void> {
    const { id, nonce, rawTransaction, hashes } = transaction
    const before = parseTransaction(rawTransaction)
    const { maxFeePerGas = 0n, maxPriorityFeePerGas = 0n, gas = 0n, to, data = '0x' } = before
    const fees = market && bumpFees({ maxFeePerGas, maxPriorityFeePerGas }, market.fees, deps.maxFeePerGas)
    if (!fees || !to || hashes.length >= maxVersions) return deliver(transaction)
    const version = await sign({ nonce, to, data, gas, ...fees })
    const now = new Date(clock())
    if (!(await replaceX402Transaction(db, { id, versions: hashes.length, now, ...version }))) return
    const replaced = [...hashes, version.hash]
    const waiter = waiting.get(id)
    if (waiter) waiter.hashes = replaced
    logger.warn({ transaction: id, nonce, hash: version.hash }, 'stuck; replaced with higher fees')
    await deliver({ ...transaction, rawTransaction: version.rawTransaction, hashes: replaced })
  }

  /** A node that does not answer is asked again at the next tick: the transaction is recorded. */
  async function deliver({ id, nonce, rawTransaction }: X402Transaction): Promise<void> {
    try {
      const answer = await broadcast(client, rawTransaction)
      if (answer === 'no_funds') complain('the relayer cannot pay for the gas: send ether to it', { relayer: sender })
      else if (answer === 'underpriced') logger.warn({ transaction: id, nonce }, 'the fees are too low; raised soon')
    } catch (err) {
      logger.warn({ err, transaction: id, nonce }, 'a node did not take the transaction; sent again')
    }
  }

  async function sign(request: Fees & { nonce: number; to: Address; data: Hex; gas: bigint }) {
    const rawTransaction = await account.signTransaction({
      type: 'eip1559',
      chainId: deps.chainId,
      value: 0n,
      ...request,
    })
    return { rawTransaction, hash: keccak256(rawTransaction) }
  }

  /** Once, until something else happens. */
  function complain(words: string, values: Record<string, string>): void {
    if (complaint !== words) logger.error(values, words)
    complaint = words
  }
}

type Waiter = { hashes: readonly Hex[]; finish(receipt: TransactionReceipt): void }

/** Undefined when it is not included. */
export async function findReceipt(
  client: Pick<PublicClient, 'getTransactionReceipt'>,
  hash: Hex,
): Promise<TransactionReceipt | undefined> {
  try {
    return await client.getTransactionReceipt({ hash })
  } catch (error) {
    if (error instanceof TransactionReceiptNotFoundError) return undefined
    throw error
  }
}
