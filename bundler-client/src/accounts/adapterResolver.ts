import type { Address } from '@protocolbanks/stream-protocol'
import {
  ContractFunctionRevertedError,
  HttpRequestError,
  type PublicClient,
  parseAbi,
  RpcRequestError,
  TimeoutError,
  BaseError as ViemError,
} from 'viem'
import type { AccountAdapter } from './accountAdapter.ts'
import { accountAdapters } from './accountAdapters.ts'
import { findAdapter } from './findAdapter.ts'

/**
 * The adapter of a deployed account, by what it says of itself on the chain.
 *
 * @throws UnknownAccountError; viem's errors when the chain does not answer
 */
export type AdapterResolver = (account: Address) => Promise<AccountAdapter>

export type AdapterResolverOptions = {
  chain: Pick<PublicClient, 'readContract'>
  /** Those to choose from, all by default. */
  adapters?: readonly AccountAdapter[] | undefined
  /** How long an answer is kept; 10 minutes by default. Accounts can change what they are: a Safe its handler, an EOA its delegate. */
  ttlMs?: number | undefined
  /** Accounts that are remembered; 10,000 by default. */
  maxAccounts?: number | undefined
  clock?: (() => number) | undefined
}

const abi = parseAbi(['function accountId() view returns (string)'])

/** Asks each account once in a while. Failures are not remembered. */
export function createAdapterResolver(options: AdapterResolverOptions): AdapterResolver {
  const { chain, adapters = accountAdapters, ttlMs = 600_000, maxAccounts = 10_000, clock = Date.now } = options
  /** In order of expiry. */
  const known = new Map<Address, { adapter: AccountAdapter; until: number }>()

  return async (account) => {
    const entry = known.get(account)
    if (entry && entry.until > clock()) return entry.adapter
    known.delete(account)
    const adapter = findAdapter(await readAccountId(account), { adapters, account })
    known.set(account, { adapter, until: clock() + ttlMs })
    const [oldest] = known.keys()
    if (known.size > maxAccounts && oldest) known.delete(oldest)
    return adapter
  }

  async function readAccountId(account: Address): Promise<string | undefined> {
    try {
      return await chain.readContract({ abi, address: account, functionName: 'accountId' })
    } catch (error) {
      if (isAnswer(error)) return undefined
      throw error
    }
  }
}

/** Whether the chain answered: the call reverted, or what came back is no string. */
function isAnswer(error: unknown): boolean {
  if (!(error instanceof ViemError)) return false
  if (error.walk((cause) => cause instanceof ContractFunctionRevertedError)) return true
  return !error.walk(
    (cause) => cause instanceof HttpRequestError || cause instanceof TimeoutError || cause instanceof RpcRequestError,
  )
}
