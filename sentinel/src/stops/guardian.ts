import { broadcast, type GrantStop, stopManyCall } from '@protocolbanks/stream-bundler-client'
import {
  type Db,
  markStopConfirmed,
  markStopDue,
  markStopImpossible,
  type OpenStop,
  recordStopTransaction,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import type { Logger } from 'pino'
import { keccak256, type PublicClient, type TransactionReceipt } from 'viem'
import { decideStop, type StopView } from './decideStop.ts'
import { decideTransaction } from './decideTransaction.ts'
import type { GuardianSigner } from './guardianSigner.ts'
import { planBatches } from './planBatches.ts'
import { type Proofs, readProofs } from './readProofs.ts'

export type GuardianDeps = {
  db: Db
  chain: PublicClient
  module: Address
  signer: GuardianSigner
  clock(): number
  logger: Logger
  /** What waits longer is replaced, with an eighth more for each version. */
  stuckMs: number
  maxFeePerGas: bigint
  /** Of one transaction; what needs more is split. */
  maxGas: bigint
}

export type Guardian = {
  readonly address: Address
  /**
   * Takes every stop one step on. One sentinel at a time, for the nonces: who calls sees to it.
   *
   * @returns when something has to be looked at before the next round
   */
  drive(stops: readonly OpenStop[]): Promise<number | undefined>
}

/** Stops that one transaction is for. */
type Flight = { nonce: number; stops: OpenStop[]; sentAt: number; rawTransaction: Hex }

const statuses = ['none', 'active', 'frozen', 'revoked'] as const
const repeatMs = 5_000
/** How long a stop waits for others while a transaction is on its way. */
const gatherMs = 250
/** Of a transaction by itself, and of each stop in it, which takes about 12,000: to know how many fit. */
const baseGas = 40_000n
const stopGas = 20_000n
const readsAtOnce = 16
const maxVersions = 20

/**
 * Brings stops to the chain, many in one transaction. Every version is recorded before it is sent; each stop is proven by
 * its own event, or by the chain's state where somebody else did it. One that is impossible holds up no other.
 */
export function createGuardian(deps: GuardianDeps): Guardian {
  const { db, chain, module, signer, clock, logger } = deps
  const contract = { address: module, abi: sessionKeyValidatorAbi } as const
  const now = () => new Date(clock())
  const mostStops = Number((deps.maxGas - baseGas) / stopGas)
  /** Halved after a transaction that failed as a whole, which should not be. */
  let batchSize = mostStops

  async function receiptsOf(stops: readonly OpenStop[]): Promise<TransactionReceipt[]> {
    const hashes = [...new Set(stops.flatMap((stop) => stop.hashes))]
    const receipts = await inParts(hashes, (hash) => chain.getTransactionReceipt({ hash }).catch(ignoreMissing))
    return receipts.filter((receipt) => receipt !== undefined)
  }

  /** Ends what is done or impossible; the others are to be sent. */
  async function judge(stops: readonly OpenStop[], proofs: Proofs): Promise<OpenStop[]> {
    const unproven = stops.filter((stop) => proofs(stop) === undefined)
    const states = new Map(await inParts(unproven, async (stop) => [stop.id, await stateOf(stop)] as const))
    const toSend: OpenStop[] = []
    for (const stop of stops) {
      const { id, grantId } = stop
      const state = states.get(id) ?? { status: 'active', isGuardian: true }
      const step = decideStop(stop, { ...state, proof: proofs(stop) })
      if (step.do === 'send') toSend.push(stop)
      else if (step.do === 'giveUp') {
        await markStopImpossible(db, { id, errorCode: step.errorCode, now: now() })
        logger.error({ stop: id, grantId, code: step.errorCode }, 'this guardian cannot stop the grant on the chain')
      } else {
        const blockNumber = step.proof?.blockNumber ?? (await chain.getBlockNumber({ cacheTime: 0 }))
        const { txHash = null, logIndex = null } = step.proof ?? {}
        await markStopConfirmed(db, { id, txHash, blockNumber, logIndex, now: now() })
        logger.info({ stop: id, grantId, txHash, blockNumber: `${blockNumber}` }, 'stopped on the chain')
      }
    }
    return toSend
  }

  async function stateOf({ account, grantId }: OpenStop): Promise<Omit<StopView, 'proof'>> {
    const [[status], [guardian]] = await Promise.all([
      chain.readContract({ ...contract, functionName: 'grantState', args: [account, grantId] }),
      chain.readContract({ ...contract, functionName: 'accountState', args: [account] }),
    ])
    return { status: statuses[status] ?? 'none', isGuardian: guardian === signer.address }
  }

  async function send(stops: readonly OpenStop[], nonce: number, version: number): Promise<void> {
    const targets = stops.map(
      ({ account, grantId, kind }): GrantStop => ({
        account,
        grantId,
        revokes: kind === 'revoke',
      }),
    )
    const [fees, needed] = await Promise.all([
      chain.estimateFeesPerGas(),
      chain.estimateGas({ account: signer.address, ...stopManyCall({ module, stops: targets }) }),
    ])
    if (needed > deps.maxGas && stops.length > 1 && version === 0) {
      batchSize = Math.floor(stops.length / 2)
      logger.warn({ stops: stops.length, needed: `${needed}` }, 'too much gas for one transaction; fewer go at once')
      return
    }
    const raised = (fee: bigint) => (fee * 9n ** BigInt(version)) / 8n ** BigInt(version) + BigInt(version)
    const cap = (fee: bigint) => (fee < deps.maxFeePerGas ? fee : deps.maxFeePerGas)
    const rawTransaction = await signer.sign({
      stops: targets,
      nonce,
      // Whoever stops or resumes one of them in between makes it dearer.
      gas: (needed * 5n) / 4n + 20_000n,
      maxFeePerGas: cap(raised(fees.maxFeePerGas)),
      maxPriorityFeePerGas: cap(raised(fees.maxPriorityFeePerGas)),
    })
    const hash = keccak256(rawTransaction)
    if (!(await recordStopTransaction(db, { stops, nonce, rawTransaction, hash, now: now() }))) {
      logger.warn({ nonce, stops: stops.length }, 'another sentinel went on with these stops; nothing is sent')
      return
    }
    await hand(rawTransaction, stops.length)
  }

  async function hand(rawTransaction: Hex, stops: number): Promise<void> {
    const answer = await broadcast(chain, rawTransaction)
    if (answer === 'no_funds') logger.error({ guardian: signer.address }, 'the guardian has no ether for gas; fund it')
    else logger.info({ stops, answer, txHash: keccak256(rawTransaction) }, 'stops sent')
  }

  /** One transaction's next step. Returns what of it is to be sent anew. */
  async function advance(flight: Flight, nextNonce: number, isGap: boolean): Promise<OpenStop[]> {
    const { nonce, stops, sentAt, rawTransaction } = flight
    const receipts = await receiptsOf(stops)
    const proofs = readProofs(receipts, { module, guardian: signer.address })
    const newest = keccak256(rawTransaction)
    // Of an older version the nonce tells, which no earlier transaction's receipt is mistaken for.
    const isIncluded = receipts.some(({ transactionHash }) => transactionHash === newest)
    const seen = { isIncluded, nextNonce, isGap }
    const step = decideTransaction({ nonce, sentAgoMs: clock() - sentAt }, seen, { stuckMs: deps.stuckMs, repeatMs })
    if (step === 'wait') return []
    const open = await judge(stops, proofs)
    if (step === 'read') {
      const hasFailed = receipts.some(
        ({ transactionHash, status }) => transactionHash === newest && status !== 'success',
      )
      batchSize = hasFailed ? Math.max(1, Math.floor(Math.min(batchSize, stops.length) / 2)) : mostStops
      for (const { id } of open) await markStopDue(db, { id, now: now() })
      return open
    }
    if (open.length === 0) return []
    if (step === 'repeat') await hand(rawTransaction, open.length)
    else await send(open, nonce, Math.min(Math.max(...open.map(({ hashes }) => hashes.length)), maxVersions))
    return []
  }

  return {
    address: signer.address,
    async drive(stops) {
      if (stops.length === 0) return undefined
      const nextNonce = await chain.getTransactionCount({ address: signer.address, blockTag: 'latest' })
      const flights = toFlights(stops)
      const isGap = !flights.some(({ nonce }) => nonce === nextNonce)
      const again: OpenStop[] = []
      for (const flight of flights) again.push(...(await advance(flight, nextNonce, isGap)))

      const waiting = [...again, ...stops.filter(({ chainState }) => chainState === 'due')]
      const isIdle = again.length > 0 || flights.length === 0
      const policy = { nowMs: clock(), isIdle, gatherMs, mostStops: batchSize }
      const { batches, lookAgainMs } = planBatches(waiting, policy)
      const taken = new Set(flights.map(({ nonce }) => nonce))
      let nonce = nextNonce
      for (const batch of batches) {
        // What went wrong before is looked at once more: others may have stopped it, before or since.
        const open = await judge(batch, readProofs(await receiptsOf(batch), { module, guardian: signer.address }))
        if (open.length === 0) continue
        while (taken.has(nonce)) nonce++
        taken.add(nonce)
        await send(open, nonce, 0)
      }
      return lookAgainMs
    },
  }
}

/** By nonce, the lowest first. */
function toFlights(stops: readonly OpenStop[]): Flight[] {
  const flights = new Map<number, Flight>()
  for (const stop of stops) {
    const { chainState, nonce, sentAt, rawTransaction } = stop
    if (chainState !== 'sent' || nonce === null || sentAt === null || rawTransaction === null) continue
    const flight = flights.get(nonce)
    if (!flight) flights.set(nonce, { nonce, stops: [stop], sentAt: sentAt.getTime(), rawTransaction })
    else {
      flight.stops.push(stop)
      if (sentAt.getTime() <= flight.sentAt) continue
      flight.sentAt = sentAt.getTime()
      flight.rawTransaction = rawTransaction
    }
  }
  return [...flights.values()].toSorted((a, b) => a.nonce - b.nonce)
}

async function inParts<item, result>(items: readonly item[], work: (item: item) => Promise<result>): Promise<result[]> {
  const results: result[] = []
  for (let start = 0; start < items.length; start += readsAtOnce)
    results.push(...(await Promise.all(items.slice(start, start + readsAtOnce).map(work))))
  return results
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && error.name === 'TransactionReceiptNotFoundError') return undefined
  throw error
}
