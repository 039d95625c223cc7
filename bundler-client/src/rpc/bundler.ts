import type { Hex } from '@protocolbanks/stream-protocol'
import { type Client, createClient, hexToBigInt, http, type PublicClient, type TransactionReceipt } from 'viem'
import { type BundlerActions, bundlerActions } from 'viem/account-abstraction'
import type { EntryPoint } from '../accounts/accountAdapter.ts'
import { BundlerUnavailableError } from '../errors/bundlerErrors.ts'
import { readRpcFailure } from '../errors/readRpcFailure.ts'
import { toBundlerError } from '../errors/toBundlerError.ts'
import { hashUserOperation } from '../userOperation/hashUserOperation.ts'
import { toViemUserOperation } from '../userOperation/toViemUserOperation.ts'
import type { UserOperation } from '../userOperation/userOperation.ts'
import { withHeaders } from './withHeaders.ts'

export type Fees = { maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }

export type GasLimits = Pick<UserOperation, 'callGasLimit' | 'verificationGasLimit' | 'preVerificationGas'>

/**
 * What a call may need beyond the estimate: bundlers measure to the last unit of gas, and the state changes in between.
 * Well below the 40,000 of unused gas from which EntryPoint v0.8 charges a tenth of it; v0.7 always does, here 1,500.
 */
const callGasMargin = 15_000n

export function withCallGasMargin(gas: GasLimits): GasLimits {
  return { ...gas, callGasLimit: gas.callGasLimit + callGasMargin }
}

/** A bundler over JSON-RPC (ERC-7769). Everything throws the errors of bundlerErrors.ts. */
export type Bundler = {
  /** What the bundler takes now, wei per gas. */
  fees(): Promise<Fees>
  /** The operation has its paymaster's stub data and a dummy signature. */
  estimate(op: UserOperation): Promise<GasLimits>
  /** @returns userOpHash, as the bundler computes it. One that it has already is taken again. */
  send(op: UserOperation): Promise<Hex>
  /** The transaction that included the operation; undefined while there is none, or the bundler does not know it. */
  findTransaction(userOpHash: Hex): Promise<TransactionReceipt | undefined>
  /**
   * Whether the bundler holds it and has not included it yet. Asked by Pimlico's method, where there is one: some bundlers
   * show an operation by its hash only once it is included.
   */
  isPending(userOpHash: Hex): Promise<boolean>
  /** Answers when the bundler serves this chain and EntryPoint. */
  ping(): Promise<void>
}

export type BundlerOptions = {
  url: string
  chainId: number
  entryPoint: EntryPoint
  /** For fees, when the bundler does not tell its own. */
  chain: Pick<PublicClient, 'estimateFeesPerGas'>
  /** Of one call; 10,000 by default. */
  timeoutMs?: number | undefined
  /** More headers for each call, asked at the call: W3C `traceparent`. */
  headers?: (() => Record<string, string>) | undefined
}

/**
 * @example
 * const bundler = createBundler({ url, chainId, entryPoint: entryPoint08, chain: publicClient })
 * const userOpHash = await bundler.send(op)
 */
export function createBundler({
  url,
  chainId,
  entryPoint,
  chain,
  timeoutMs = 10_000,
  headers,
}: BundlerOptions): Bundler {
  // No retries in here: whoever calls knows what may be repeated.
  const client: Client & BundlerActions = createClient({
    transport: http(url, { retryCount: 0, timeout: timeoutMs, ...withHeaders(headers) }),
  }).extend(bundlerActions)
  const entryPointAddress = entryPoint.address
  let tellsFees = true
  let tellsStatus = true

  return {
    async fees() {
      if (tellsFees) {
        const told = await mapErrors(() => askFees(client))
        if (told) return told
        tellsFees = false
      }
      const estimate = await mapErrors(() => chain.estimateFeesPerGas())
      // Bundlers refuse what would not pay in the next blocks.
      return {
        maxFeePerGas: 2n * estimate.maxFeePerGas,
        maxPriorityFeePerGas: (5n * estimate.maxPriorityFeePerGas) / 4n,
      }
    },

    async estimate(op) {
      const { callGasLimit, verificationGasLimit, preVerificationGas } = await mapErrors(() =>
        client.estimateUserOperationGas({ ...toViemUserOperation(op), entryPointAddress }),
      )
      return { callGasLimit, verificationGasLimit, preVerificationGas }
    },

    send(op) {
      return mapErrors(async () => {
        try {
          return await client.sendUserOperation({ ...toViemUserOperation(op), entryPointAddress })
        } catch (error) {
          if (!/already known/i.test(readRpcFailure(error).detail)) throw error
          return hashUserOperation({ chainId, entryPoint }, op)
        }
      })
    },

    async findTransaction(userOpHash) {
      return mapErrors(async () => {
        try {
          return (await client.getUserOperationReceipt({ hash: userOpHash })).receipt
        } catch (error) {
          if (error instanceof Error && error.name === 'UserOperationReceiptNotFoundError') return undefined
          throw error
        }
      })
    },

    async isPending(userOpHash) {
      if (tellsStatus) {
        const status = await mapErrors(() => askStatus(client, userOpHash))
        if (status !== undefined) return status === 'not_submitted' || status === 'submitted' || status === 'queued'
        tellsStatus = false
      }
      return mapErrors(async () => {
        try {
          return (await client.getUserOperation({ hash: userOpHash })).transactionHash === null
        } catch (error) {
          if (error instanceof Error && error.name === 'UserOperationNotFoundError') return false
          throw error
        }
      })
    },

    async ping() {
      const [id, supported] = await mapErrors(() =>
        Promise.all([client.request({ method: 'eth_chainId' }), client.getSupportedEntryPoints()]),
      )
      const serves = supported.some((address) => address.toLowerCase() === entryPointAddress.toLowerCase())
      if (Number(id) === chainId && serves) return
      throw new BundlerUnavailableError({
        detail: `It serves chain ${Number(id)} with EntryPoints ${supported.join(', ')}; needed is chain ${chainId} with ${entryPointAddress}.`,
      })
    },
  }
}

/** Pimlico's method, which other bundlers copied; undefined when this one has nothing like it. */
async function askFees(client: Client): Promise<Fees | undefined> {
  try {
    const answer: unknown = await client.request<{
      Method: 'pimlico_getUserOperationGasPrice'
      Parameters: []
      ReturnType: unknown
    }>({ method: 'pimlico_getUserOperationGasPrice', params: [] })
    const { fast } = answer as { fast?: { maxFeePerGas: Hex; maxPriorityFeePerGas: Hex } }
    if (!fast) return undefined
    return {
      maxFeePerGas: hexToBigInt(fast.maxFeePerGas),
      maxPriorityFeePerGas: hexToBigInt(fast.maxPriorityFeePerGas),
    }
  } catch (error) {
    // It answered, but does not know the method.
    if (toBundlerError(error) instanceof BundlerUnavailableError) throw error
    return undefined
  }
}

/** The same for where an operation stands, e.g. `not_submitted` (it waits), `submitted` (in a bundle), `not_found`. */
async function askStatus(client: Client, userOpHash: Hex): Promise<string | undefined> {
  try {
    const answer: unknown = await client.request<{
      Method: 'pimlico_getUserOperationStatus'
      Parameters: [Hex]
      ReturnType: unknown
    }>({ method: 'pimlico_getUserOperationStatus', params: [userOpHash] })
    const { status } = answer as { status?: unknown }
    return typeof status === 'string' ? status : undefined
  } catch (error) {
    if (toBundlerError(error) instanceof BundlerUnavailableError) throw error
    return undefined
  }
}

async function mapErrors<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toBundlerError(error)
  }
}
