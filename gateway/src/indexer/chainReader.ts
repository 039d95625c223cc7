import type { AccountFromChain, GrantStateFromChain } from '@protocolbanks/stream-db'
import { type Address, type Hex, packTerms } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { erc20Abi, getAbiItem, type Log, type PublicClient } from 'viem'
import type { CreatedGrant } from './chainEvents.ts'

/** The block that state is read at. By its hash: a reorganisation in between is an error, never a mixture. */
export type StateBlock = { number: bigint; hash: Hex }

/** What the indexer asks the chain. Bounded: `batchSize` calls at once, ranges as large as the node allows. */
export type ChainReader = {
  /** Blocks that one log query asks for, now. */
  rangeBlocks(): bigint
  /** The module's own; asked once. */
  reserve(): Promise<Address>
  /** Logs of the module and its reserve in [from, to]. */
  logs(from: bigint, to: bigint): Promise<Log<bigint, number, false>[]>
  /** Those of the accounts whose balance, or allowance to the module, changed in [from, to]. */
  movedFunds(from: bigint, to: bigint, accounts: readonly Address[]): Promise<Set<Address>>
  accounts(accounts: readonly Address[], at: StateBlock): Promise<AccountFromChain[]>
  grants(grants: readonly Pick<CreatedGrant, 'grantId' | 'account'>[], at: StateBlock): Promise<GrantStateFromChain[]>
  /** Undefined for a grant of an epoch that is over: the module answers for the current one only. */
  channelSettled(grant: CreatedGrant, payee: Address, at: StateBlock): Promise<bigint | undefined>
}

export type ChainReaderOptions = {
  client: PublicClient
  module: Address
  token: Address
  /** Blocks of one `eth_getLogs` at most; halved while the node refuses, doubled after it did not for long. */
  maxRangeBlocks: bigint
}

/** Calls in flight, for the transport to batch. */
const batchSize = 50
/** Full ranges that the node has to take before it is asked for larger ones. */
const rangesBeforeGrowth = 200
/** Addresses of one filter. */
const accountsPerFilter = 500

const statuses = ['none', 'active', 'frozen', 'revoked'] as const
const transfer = getAbiItem({ abi: erc20Abi, name: 'Transfer' })
const approval = getAbiItem({ abi: erc20Abi, name: 'Approval' })

export function createChainReader({ client, module, token, maxRangeBlocks }: ChainReaderOptions): ChainReader {
  let rangeBlocks = maxRangeBlocks
  let fullRanges = 0
  let reserveAddress: Address | undefined
  const moduleAt = (at: StateBlock) =>
    ({ address: module, abi: sessionKeyValidatorAbi, blockHash: at.hash, requireCanonical: true }) as const
  const tokenAt = (at: StateBlock) =>
    ({ address: token, abi: erc20Abi, blockHash: at.hash, requireCanonical: true }) as const

  async function reserve(): Promise<Address> {
    reserveAddress ??= await client.readContract({
      address: module,
      abi: sessionKeyValidatorAbi,
      functionName: 'reserve',
    })
    return reserveAddress
  }

  /** One query over [from, to], in ranges that the node answers. */
  async function inRanges<T>(
    from: bigint,
    to: bigint,
    query: (range: { fromBlock: bigint; toBlock: bigint }) => Promise<T[]>,
  ): Promise<T[]> {
    const found: T[] = []
    let fromBlock = from
    while (fromBlock <= to) {
      const toBlock = smaller(to, fromBlock + rangeBlocks - 1n)
      try {
        for (const item of await query({ fromBlock, toBlock })) found.push(item)
      } catch (error) {
        // Nodes refuse a range for its length or for what it holds, each in its own words.
        rangeBlocks = rangeBlocks > 1n ? rangeBlocks / 2n : 1n
        fullRanges = 0
        throw error
      }
      if (toBlock - fromBlock + 1n === rangeBlocks && ++fullRanges >= rangesBeforeGrowth) {
        rangeBlocks = smaller(maxRangeBlocks, rangeBlocks * 2n)
        fullRanges = 0
      }
      fromBlock = toBlock + 1n
    }
    return found
  }

  return {
    rangeBlocks: () => rangeBlocks,
    reserve,
    async logs(from, to) {
      const address = [module, await reserve()]
      return inRanges(from, to, (range) => client.getLogs({ address, ...range }))
    },
    async movedFunds(from, to, accounts) {
      if (accounts.length === 0) return new Set()
      const moved = new Set<Address | undefined>()
      const approvals = await inRanges(from, to, (range) =>
        client.getLogs({ address: token, event: approval, args: { spender: module }, ...range }),
      )
      for (const { args } of approvals) moved.add(args.owner)
      for (let start = 0; start < accounts.length; start += accountsPerFilter) {
        const some = accounts.slice(start, start + accountsPerFilter)
        const transfers = await inRanges(from, to, async (range) => {
          const logs = await Promise.all([
            client.getLogs({ address: token, event: transfer, args: { from: some }, ...range }),
            client.getLogs({ address: token, event: transfer, args: { to: some }, ...range }),
          ])
          return logs.flat()
        })
        for (const { args } of transfers) {
          moved.add(args.from)
          moved.add(args.to)
        }
      }
      return new Set(accounts.filter((account) => moved.has(account)))
    },
    async accounts(accounts, at) {
      const pools = {
        address: await reserve(),
        abi: prepaidReserveAbi,
        blockHash: at.hash,
        requireCanonical: true,
      } as const
      return inBatches(accounts, async (account) => {
        const [[guardian, epoch, , frozen], balance, allowance, [pooled, withdrawing, withdrawableAt]] =
          await Promise.all([
            client.readContract({ ...moduleAt(at), functionName: 'accountState', args: [account] }),
            client.readContract({ ...tokenAt(at), functionName: 'balanceOf', args: [account] }),
            client.readContract({ ...tokenAt(at), functionName: 'allowance', args: [account, module] }),
            client.readContract({ ...pools, functionName: 'poolOf', args: [account, token] }),
          ])
        return {
          account,
          token,
          balance,
          allowance,
          accountFrozen: frozen,
          guardian,
          epoch,
          reserve: { balance: pooled, withdrawing, withdrawableAt: Number(withdrawableAt) },
          blockNumber: at.number,
        }
      })
    },
    grants(grants, at) {
      return inBatches(grants, async ({ account, grantId }) => {
        const [status, settled, periodIndex, periodSettled] = await client.readContract({
          ...moduleAt(at),
          functionName: 'grantState',
          args: [account, grantId],
        })
        const name = statuses[status]
        if (name === undefined) throw new Error(`The module gave grant ${grantId} the unknown status ${status}.`)
        return { grantId, status: name, settled, periodIndex, periodSettled, blockNumber: at.number }
      })
    },
    async channelSettled({ account, epoch, terms }, payee, at) {
      const [[, current], settled] = await Promise.all([
        client.readContract({ ...moduleAt(at), functionName: 'accountState', args: [account] }),
        client.readContract({
          ...moduleAt(at),
          functionName: 'channelSettled',
          args: [account, packTerms(terms), payee],
        }),
      ])
      return current === epoch ? settled : undefined
    },
  }
}

async function inBatches<T, R>(items: readonly T[], read: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (let start = 0; start < items.length; start += batchSize) {
    results.push(...(await Promise.all(items.slice(start, start + batchSize).map(read))))
  }
  return results
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
