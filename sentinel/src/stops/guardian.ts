import { broadcast, freezeCall, revokeCall } from '@protocolbanks/stream-bundler-client'
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
import { keccak256, type PrivateKeyAccount, type PublicClient } from 'viem'
import { decideStop, type StopView } from './decideStop.ts'

export type GuardianDeps = {
  db: Db
  chain: PublicClient
  chainId: number
  module: Address
  /** Signs freezes and revocations, and nothing else. */
  signer: PrivateKeyAccount
  clock(): number
  logger: Logger
  /** What waits longer is replaced, with an eighth more for each version. */
  stuckMs: number
  maxFeePerGas: bigint
}

export type Guardian = {
  readonly address: Address
  /** Takes every stop one step on. One sentinel at a time, for the nonces: who calls sees to it. */
  drive(stops: readonly OpenStop[]): Promise<void>
}

const statuses = ['none', 'active', 'frozen', 'revoked'] as const
const repeatMs = 5_000
/** Freezing takes about 33,000, revoking 34,000. */
const gas = 100_000n

/** Brings stops to the chain. Every transaction is recorded before it is sent; the chain's state says when it is done. */
export function createGuardian(deps: GuardianDeps): Guardian {
  const { db, chain, chainId, module, signer, clock, logger } = deps
  const contract = { address: module, abi: sessionKeyValidatorAbi } as const
  const now = () => new Date(clock())

  async function look({ account, grantId, hashes }: OpenStop, nonce: number): Promise<Omit<StopView, 'isGap'>> {
    const [[status], [guardian], ...receipts] = await Promise.all([
      chain.readContract({ ...contract, functionName: 'grantState', args: [account, grantId] }),
      chain.readContract({ ...contract, functionName: 'accountState', args: [account] }),
      ...hashes.map((hash) => chain.getTransactionReceipt({ hash }).catch(ignoreMissing)),
    ])
    const receipt = receipts.find((found) => found !== undefined)
    return {
      status: statuses[status] ?? 'none',
      isGuardian: guardian === signer.address,
      nonce,
      included: receipt && {
        txHash: receipt.transactionHash,
        blockNumber: receipt.blockNumber,
        success: receipt.status === 'success',
      },
    }
  }

  async function send(stop: OpenStop, nonce: number, version: number): Promise<void> {
    const { maxFeePerGas, maxPriorityFeePerGas } = await chain.estimateFeesPerGas()
    const raised = (fee: bigint) => (fee * 9n ** BigInt(version)) / 8n ** BigInt(version) + BigInt(version)
    const cap = (fee: bigint) => (fee < deps.maxFeePerGas ? fee : deps.maxFeePerGas)
    const call = (stop.kind === 'freeze' ? freezeCall : revokeCall)({ module, ...stop })
    const rawTransaction = await signer.signTransaction({
      chainId,
      to: call.to,
      data: call.data,
      nonce,
      gas,
      maxFeePerGas: cap(raised(maxFeePerGas)),
      maxPriorityFeePerGas: cap(raised(maxPriorityFeePerGas)),
    })
    await recordStopTransaction(db, { id: stop.id, nonce, rawTransaction, hash: keccak256(rawTransaction), now: now() })
    await hand(stop, rawTransaction)
  }

  async function hand({ id, grantId }: OpenStop, rawTransaction: Hex): Promise<void> {
    const answer = await broadcast(chain, rawTransaction)
    if (answer === 'no_funds') logger.error({ guardian: signer.address }, 'the guardian has no ether for gas; fund it')
    else logger.info({ stop: id, grantId, answer, txHash: keccak256(rawTransaction) }, 'stop sent')
  }

  async function step(stop: OpenStop, view: StopView, nextNonce: () => number): Promise<void> {
    const { id, grantId, nonce, rawTransaction, hashes } = stop
    const sentAgoMs = stop.sentAt ? clock() - stop.sentAt.getTime() : undefined
    const next = decideStop({ ...stop, sentAgoMs }, view, { stuckMs: deps.stuckMs, repeatMs })
    switch (next.do) {
      case 'confirm': {
        const blockNumber = view.included?.blockNumber ?? (await chain.getBlockNumber({ cacheTime: 0 }))
        await markStopConfirmed(db, { id, txHash: next.txHash, blockNumber, now: now() })
        logger.info({ stop: id, grantId, txHash: next.txHash, blockNumber: `${blockNumber}` }, 'stopped on the chain')
        return
      }
      case 'giveUp':
        await markStopImpossible(db, { id, errorCode: next.errorCode, now: now() })
        logger.error({ stop: id, grantId, code: next.errorCode }, 'this guardian cannot stop the grant on the chain')
        return
      case 'send':
        if (stop.chainState === 'sent') await markStopDue(db, { id, now: now() })
        await send(stop, nextNonce(), 0)
        return
      case 'replace':
        if (nonce !== null) await send(stop, nonce, Math.min(hashes.length, maxVersions))
        return
      case 'repeat':
        if (rawTransaction) await hand(stop, rawTransaction)
        return
      case 'wait':
    }
  }

  return {
    address: signer.address,
    async drive(stops) {
      const open = stops.filter(({ chainState }) => chainState === 'due' || chainState === 'sent')
      if (open.length === 0) return
      const nonce = await chain.getTransactionCount({ address: signer.address, blockTag: 'latest' })
      const taken = new Set(open.map((stop) => stop.nonce))
      const isGap = !taken.has(nonce)
      const nextNonce = () => {
        let next = nonce
        while (taken.has(next)) next++
        taken.add(next)
        return next
      }
      for (const stop of open) await step(stop, { ...(await look(stop, nonce)), isGap }, nextNonce)
    },
  }
}

const maxVersions = 20

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && error.name === 'TransactionReceiptNotFoundError') return undefined
  throw error
}
