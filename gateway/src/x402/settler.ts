import {
  closeX402Settlement,
  type Db,
  dropX402Lease,
  listX402Transactions,
  markX402TransactionIncluded,
  markX402TransactionLost,
  takeOverX402Settlements,
  type X402Outcome,
  type X402Payment,
  type X402Transaction,
} from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import type { PublicClient, TransactionReceipt } from 'viem'
import type { SignedAuthorization } from './authorization.ts'
import { eip3009Abi } from './eip3009Abi.ts'
import { isPaidBy } from './isPaidBy.ts'
import { findReceipt, type Relayer } from './relayer.ts'
import { maxDeployGas, type TransferPlan } from './verifyAuthorization.ts'

export type SettlerDeps = {
  db: Db
  client: PublicClient
  relayer: Relayer
  /** Of this process. */
  owner: string
  /** What a settlement may take while somebody waits for it. */
  timeoutMs: number
  leaseMs: number
  clock(): number
  logger: Logger
  crashPoint(name: string): void
}

export type SettleEnd =
  | X402Outcome
  /** It may still be settled: nobody knows within the time that there is. */
  | { state: 'pending' }
  /** Somebody else took the payment over; nothing was sent. */
  | { state: 'lost' }

export type Settler = ReturnType<typeof createSettler>

/** Blocks that are searched for a use of an authorisation by somebody else. */
const lookbackBlocks = 5_000n
/** Settlements that are taken over in one tick. */
const maxTakenOver = 32

/** Moves the money of verified payments, and finds out what became of those that were left half-way. */
export function createSettler(deps: SettlerDeps) {
  const { db, client, relayer, owner, clock, logger } = deps

  return { settle, recover }

  /** @throws what the database says, before anything is sent */
  async function settle(payment: X402Payment, plan: TransferPlan): Promise<SettleEnd> {
    const held = { id: payment.id, owner }
    if (plan.deployment) {
      const { factory: to, data } = plan.deployment
      const deploying = await relayer.send({ ...held, purpose: 'deploy', to, data, gas: maxDeployGas })
      if (!deploying) return { state: 'lost' }
      const receipt = await relayer.waitFor(deploying, deps.timeoutMs)
      if (!receipt) return giveUp(payment)
      await markX402TransactionIncluded(db, costOf(deploying, receipt))
      if (receipt.status !== 'success') return close(payment, { state: 'failed', reason: 'deployment_reverted' })
    }
    const sent = await relayer.send({ ...held, purpose: 'transfer', to: payment.token, data: plan.data, gas: plan.gas })
    if (!sent) return { state: 'lost' }
    const receipt = await relayer.waitFor(sent, deps.timeoutMs)
    if (!receipt) return giveUp(payment)
    const isPaid = receipt.status === 'success' && isPaidBy(receipt.logs, authorizationOf(payment))
    const outcome = isPaid ? settledBy(receipt) : await conclude(payment, [sent])
    return outcome ? close(payment, outcome, costOf(sent, receipt)) : giveUp(payment)
  }

  /** The payment is whoever's looks at it next. */
  async function giveUp(payment: X402Payment): Promise<SettleEnd> {
    await dropX402Lease(db, { id: payment.id, owner }, new Date(clock()))
    return { state: 'pending' }
  }

  async function close(
    { id }: X402Payment,
    outcome: X402Outcome,
    included?: ReturnType<typeof costOf>,
  ): Promise<SettleEnd> {
    deps.crashPoint('exact.concluded')
    await closeX402Settlement(db, { id, outcome, included })
    if (outcome.state === 'settled') deps.crashPoint('exact.settled')
    else logger.warn({ payment: id, reason: outcome.reason }, 'a payment by exact was not settled')
    return outcome
  }

  /** Settlements of processes that are gone, or that gave up waiting. @throws what viem and the database say */
  async function recover(): Promise<void> {
    const now = new Date(clock())
    const left = await takeOverX402Settlements(db, {
      owner: `${owner}/recovery`,
      leaseMs: deps.leaseMs,
      now,
      limit: maxTakenOver,
    })
    for (const payment of left) {
      const transactions = await listX402Transactions(db, payment.id)
      const outcome = await conclude(payment, transactions)
      if (!outcome) {
        await dropX402Lease(db, { id: payment.id, owner: `${owner}/recovery` }, new Date(clock()))
        continue
      }
      logger.info(
        { payment: payment.id, ...outcome, blockNumber: undefined },
        'found out about a payment that was left half-way',
      )
      await close(payment, outcome)
      // Its call was not answered: it is owed, to whoever asks with the same payment.
      await dropX402Lease(db, { id: payment.id, owner: `${owner}/recovery` }, new Date(clock()))
    }
  }

  /** What the chain says became of it; undefined while it may still become something else. */
  async function conclude(
    payment: X402Payment,
    transactions: readonly X402Transaction[],
  ): Promise<X402Outcome | undefined> {
    const authorization = authorizationOf(payment)
    const transfers = transactions.filter(({ purpose, state }) => purpose === 'transfer' && state !== 'lost')
    // In this order: what is read later knows at least as much as what was read before.
    const { timestamp } = await client.getBlock({ blockTag: 'latest' })
    const next = await client.getTransactionCount({ address: relayer.address, blockTag: 'latest' })
    let open = 0
    for (const { id, nonce, hashes } of transfers) {
      const receipt = await findFirst(client, hashes)
      if (receipt && receipt.status === 'success' && isPaidBy(receipt.logs, authorization)) return settledBy(receipt)
      if (receipt) continue
      if (next > nonce) await markX402TransactionLost(db, id)
      else open++
    }
    const isUsed = await client.readContract({
      address: payment.token,
      abi: eip3009Abi,
      functionName: 'authorizationState',
      args: [payment.payer, payment.nonce],
    })
    if (isUsed) return findOtherUse(authorization)
    if (timestamp >= payment.validBefore) return { state: 'failed', reason: 'expired' }
    return open > 0 ? undefined : { state: 'failed', reason: transfers.length === 0 ? 'interrupted' : 'reverted' }
  }

  /** Anybody may send an authorisation: then its payer paid, whoever's transaction it was. */
  async function findOtherUse(authorization: SignedAuthorization): Promise<X402Outcome> {
    const { token, from, nonce } = authorization
    const head = await client.getBlockNumber({ cacheTime: 0 })
    const uses = await client.getContractEvents({
      address: token,
      abi: eip3009Abi,
      eventName: 'AuthorizationUsed',
      args: { authorizer: from, nonce },
      fromBlock: head > lookbackBlocks ? head - lookbackBlocks : 0n,
    })
    for (const { transactionHash } of uses) {
      const receipt = await findReceipt(client, transactionHash)
      if (receipt && isPaidBy(receipt.logs, authorization)) return settledBy(receipt)
    }
    return { state: 'failed', reason: 'nonce_used' }
  }
}

async function findFirst(
  client: PublicClient,
  hashes: readonly `0x${string}`[],
): Promise<TransactionReceipt | undefined> {
  for (const hash of hashes.toReversed()) {
    const receipt = await findReceipt(client, hash)
    if (receipt) return receipt
  }
  return undefined
}

function authorizationOf(payment: X402Payment): SignedAuthorization {
  return { ...payment, from: payment.payer, to: payment.payee, value: payment.amount }
}

function settledBy({ transactionHash, blockNumber }: TransactionReceipt): X402Outcome {
  return { state: 'settled', txHash: transactionHash, blockNumber }
}

function costOf({ id }: X402Transaction, { transactionHash, gasUsed, effectiveGasPrice }: TransactionReceipt) {
  return { id, txHash: transactionHash, gasUsed, gasCostWei: gasUsed * effectiveGasPrice }
}
