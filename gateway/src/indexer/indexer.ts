import { setTimeout as delay } from 'node:timers/promises'
import {
  advance,
  type Db,
  deleteAbove,
  type Grant,
  getCursor,
  type IndexedBlock,
  type IndexerCursor,
  type IndexerStep,
  listChannels,
  listGrants,
  listIndexedBlocks,
  listLiveAccounts,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import type { Logger } from 'pino'
import { erc20Abi, getAddress, type PublicClient } from 'viem'
import type { MirrorAccount } from './mirrorAccount.ts'
import { type CreatedGrant, createdGrants, type ModuleEvent, toModuleEvents } from './moduleEvents.ts'
import { readAccount } from './readAccount.ts'

export type Indexer = {
  /** Until the signal. Never rejects. */
  run(signal: AbortSignal): Promise<void>
  /** One step towards the head of the chain; true when it was reached. @throws what the node or Postgres throws */
  tick(): Promise<boolean>
  /** How long ago this process saw the mirror at the head of the chain, milliseconds. */
  ageMs(): number
}

export type IndexerOptions = {
  db: Db
  /** Batches its calls. */
  client: PublicClient
  mirrorAccount: MirrorAccount
  module: Address
  token: Address
  chainId: number
  /** Of the module's deployment. */
  startBlock: bigint
  pollMs: number
  logger: Logger
  now(): number
}

const cursorName = 'module'
/** Blocks that one step reads; nodes refuse larger ranges. */
const maxBlocksPerStep = 1_000n
/** Addresses in one log filter. */
const maxAddressesPerFilter = 500
/** Accounts that are read again at every step although nothing is known to have changed: heals whatever was missed. */
const sweptPerStep = 5
const maxBackOffMs = 10_000

/**
 * Mirrors the chain to Postgres and the meter. Events say what changed; the state itself is read from the chain, so a
 * reorganisation only means to find the fork and read again what the lost events had touched. Any number of processes
 * may run it: the cursor moves for one of them, the others look again.
 */
export function createIndexer(options: IndexerOptions): Indexer {
  const { db, client, mirrorAccount, module, token, chainId, startBlock, pollMs, logger, now } = options
  /** Accounts whose transfers matter. */
  const watched = new Set<Address>()
  /** Read again at the next step, and mirrored until the meter took it. */
  const unread = new Set<Address>()
  const unmirrored = new Set<Address>()
  let isStarted = false
  let swept: { account: Address; token: Address } | undefined
  let freshAt: number | undefined
  const startedAt = now()

  async function tick(): Promise<boolean> {
    await start()
    const checkedAt = new Date(now())
    const [cursor, head] = await Promise.all([getCursor(db, cursorName), client.getBlock()])
    if (cursor && !(await isOnChain(cursor))) {
      await unwind(checkedAt)
      return false
    }
    const from = cursor ? cursor.blockNumber + 1n : startBlock
    const to = head.number < from + maxBlocksPerStep ? head.number : from + maxBlocksPerStep - 1n
    if (!cursor && to < from) return false

    const blocks = await readBlocks(from, to, cursor)
    const events = to < from ? [] : await readEvents(from, to)
    const created = createdGrants(events, module, chainId)
    for (const { account } of created) watched.add(account)
    const touched = new Set([...unread, ...events.map(({ account }) => account), ...(await sweep(checkedAt))])
    if (to >= from) for (const account of await movedFunds(from, to)) touched.add(account)

    const step: IndexerStep = {
      name: cursorName,
      from: cursor?.blockNumber,
      blocks,
      events: events.map((event) => ({ ...event, grantId: event.grantId ?? null, payee: event.payee ?? null })),
      checkedAt,
      ...(await readState([...touched], created, events, head.number)),
    }
    if (!(await advance(db, step))) return false
    for (const account of touched) {
      unread.delete(account)
      unmirrored.add(account)
    }
    await mirrorTouched()
    const isAtHead = to >= head.number
    if (isAtHead) freshAt = checkedAt.getTime()
    return isAtHead
  }

  async function start(): Promise<void> {
    if (isStarted) return
    let after: { account: Address; token: Address } | undefined
    do {
      const batch = await listLiveAccounts(db, {
        now: new Date(now()),
        limit: maxAddressesPerFilter,
        ...(after && { after }),
      })
      for (const { account } of batch) watched.add(account)
      after = batch.length === maxAddressesPerFilter ? batch.at(-1) : undefined
    } while (after)
    isStarted = true
  }

  async function isOnChain({ blockNumber, blockHash }: IndexerCursor): Promise<boolean> {
    // A node whose head is below has lost the block too.
    const block = await client.getBlock({ blockNumber }).catch(() => undefined)
    return block?.hash === blockHash
  }

  /** Goes back to the newest block that both sides of the fork have. */
  async function unwind(checkedAt: Date): Promise<void> {
    const known = await listIndexedBlocks(db)
    for (const block of known) {
      const onChain = await client.getBlock({ blockNumber: block.number }).catch(() => undefined)
      if (onChain?.hash !== block.hash) continue
      const unwound = await deleteAbove(db, { name: cursorName, block, checkedAt })
      if (!unwound) return
      for (const { account } of unwound.accounts) unread.add(account)
      logger.warn({ fork: block.number.toString(), accounts: unwound.accounts.length }, 'the chain was reorganised')
      return
    }
    throw new Error(
      `None of the ${known.length} newest mirrored blocks is on the chain of this node: it is another chain, or the reorganisation is deeper than we keep.`,
    )
  }

  /** Of a long range only the newest are kept, to find a fork. @throws when they do not follow the cursor */
  async function readBlocks(from: bigint, to: bigint, cursor: IndexerCursor | undefined): Promise<IndexedBlock[]> {
    const first = to - from >= 256n ? to - 255n : from
    const count = to < from ? 0 : Number(to - first) + 1
    const blocks = await Promise.all(
      Array.from({ length: count }, (_, index) => client.getBlock({ blockNumber: first + BigInt(index) })),
    )
    for (const [index, block] of blocks.entries()) {
      const parentHash = index === 0 ? (first === from ? cursor?.blockHash : undefined) : blocks[index - 1]?.hash
      if (parentHash !== undefined && block.parentHash !== parentHash)
        throw new Error('The chain was reorganised while it was read.')
    }
    return blocks.map(({ number, hash }) => ({ number, hash }))
  }

  async function readEvents(fromBlock: bigint, toBlock: bigint): Promise<ModuleEvent[]> {
    return toModuleEvents(await client.getLogs({ address: module, fromBlock, toBlock }))
  }

  /** Watched accounts whose balance or allowance changed. */
  async function movedFunds(fromBlock: bigint, toBlock: bigint): Promise<Address[]> {
    const accounts = [...watched]
    const moved: Address[] = []
    const [transfer, approval] = [erc20Abi[1], erc20Abi[0]]
    for (let start = 0; start < accounts.length; start += maxAddressesPerFilter) {
      const some = accounts.slice(start, start + maxAddressesPerFilter)
      const range = { address: token, fromBlock, toBlock } as const
      const [sent, received, approved] = await Promise.all([
        client.getLogs({ ...range, event: transfer, args: { from: some } }),
        client.getLogs({ ...range, event: transfer, args: { to: some } }),
        client.getLogs({ ...range, event: approval, args: { owner: some, spender: module } }),
      ])
      for (const { args } of sent) if (args.from) moved.push(args.from)
      for (const { args } of received) if (args.to) moved.push(args.to)
      for (const { args } of approved) if (args.owner) moved.push(args.owner)
    }
    return moved
  }

  /** The next few accounts of a walk over all that matter. */
  async function sweep(at: Date): Promise<Address[]> {
    const batch = await listLiveAccounts(db, { now: at, limit: sweptPerStep, ...(swept && { after: swept }) })
    swept = batch.length === sweptPerStep ? batch.at(-1) : undefined
    return batch.map(({ account }) => account)
  }

  async function readState(accounts: Address[], created: CreatedGrant[], events: ModuleEvent[], blockNumber: bigint) {
    const state: Pick<IndexerStep, 'grants' | 'grantStates' | 'accounts' | 'channels'> = {
      grants: [],
      grantStates: [],
      accounts: [],
      channels: [],
    }
    for (const account of accounts) {
      const known = await knownGrants(account)
      const fresh = created.filter((grant) => grant.account === account)
      const subjects = [...fresh, ...known.filter(({ grantId }) => !fresh.some((grant) => grant.grantId === grantId))]
      const reading = await readAccount(client, { module, token, blockNumber }, { account, grants: subjects })
      const { balance, allowance, guardian, epoch, frozen: accountFrozen } = reading
      const grants = reading.grants.map((grant) => ({ ...grant, blockNumber }))
      state.accounts = [
        ...state.accounts,
        { account, token, balance, allowance, accountFrozen, guardian, epoch, blockNumber },
      ]
      state.grants = [
        ...state.grants,
        ...fresh.flatMap((grant) =>
          grants.filter(({ grantId }) => grantId === grant.grantId).map((own) => ({ ...grant, ...own })),
        ),
      ]
      state.grantStates = [
        ...state.grantStates,
        ...grants.filter(({ grantId }) => known.some((grant) => grant.grantId === grantId)),
      ]
      const current = known.filter((grant) => grant.epoch === epoch)
      state.channels = [...state.channels, ...(await readChannels(current, events, blockNumber))]
    }
    return state
  }

  /** Grants of the account that may still change. */
  async function knownGrants(account: Address): Promise<Grant[]> {
    const grants: Grant[] = []
    let cursor: string | undefined
    do {
      const page = await listGrants(db, { account, limit: 100, cursor })
      grants.push(...page.items.filter(({ status }) => status !== 'revoked'))
      cursor = page.nextCursor
    } while (cursor !== undefined && grants.length < 1_000)
    return grants
  }

  /** What was settled in the channels of these grants: those that are open here, and those that were just paid. */
  async function readChannels(grants: Grant[], events: ModuleEvent[], blockNumber: bigint) {
    const channels = await Promise.all(
      grants.map(async ({ grantId, account, packedTerms }) => {
        const open = (await listChannels(db, grantId)).map(({ payee }) => payee)
        const paid = events.flatMap((event) => (event.grantId === grantId && event.payee ? [event.payee] : []))
        const payees = [...new Set([...open, ...paid].map((payee) => getAddress(payee)))]
        return Promise.all(payees.map((payee) => readChannel({ grantId, account, packedTerms, payee, blockNumber })))
      }),
    )
    return channels.flat()
  }

  async function readChannel(channel: {
    grantId: Hex
    account: Address
    packedTerms: Hex
    payee: Address
    blockNumber: bigint
  }) {
    const { grantId, account, packedTerms, payee, blockNumber } = channel
    const settled = await client.readContract({
      address: module,
      abi: sessionKeyValidatorAbi,
      functionName: 'channelSettled',
      args: [account, packedTerms, payee],
      blockNumber,
    })
    return { grantId, payee, settled, blockNumber }
  }

  /** What the meter does not take now is mirrored at a later step. */
  async function mirrorTouched(): Promise<void> {
    for (const account of unmirrored) {
      try {
        await mirrorAccount(account, 'state')
        unmirrored.delete(account)
      } catch (error) {
        logger.warn({ err: error, waiting: unmirrored.size }, 'the meter does not take the mirror')
        return
      }
    }
  }

  return {
    tick,
    ageMs: () => now() - (freshAt ?? startedAt - 86_400_000),
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        let pauseMs = pollMs
        try {
          if (!(await tick())) pauseMs = 0
          if (failures > 0) logger.info({ failures }, 'the chain is seen again')
          failures = 0
        } catch (error) {
          failures++
          if (failures === 1) logger.warn({ err: error }, 'the chain cannot be mirrored')
          pauseMs = Math.min(pollMs * 2 ** Math.min(failures, 10), maxBackOffMs)
        }
        await delay(Math.max(pauseMs, 10), undefined, { signal }).catch(() => undefined)
      }
    },
  }
}
