import { setTimeout } from 'node:timers/promises'
import {
  advance,
  type ChannelFromChain,
  type Db,
  deleteAbove,
  getChannel,
  getCursor,
  getGrant,
  type IndexedBlock,
  type IndexerCursor,
  type IndexerStep,
  latestSettled,
  listIndexedBlocks,
  listLiveAccounts,
  type Queryable,
  type Unwound,
  withService,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { Counter, Gauge, type Registry } from 'prom-client'
import { type PublicClient, zeroHash } from 'viem'
import type { Meter } from '../meter/meter.ts'
import { type AccountMirror, createAccountMirror } from './accountMirror.ts'
import { type CreatedGrant, type DecodedEvents, decodeEvents } from './chainEvents.ts'
import { createChainReader, type StateBlock } from './chainReader.ts'
import { createEndedGrants } from './endedGrants.ts'
import { createPayeeBlockFollower } from './payeeBlockFollower.ts'

export type Indexer = {
  /** Ticks until the signal, whatever fails: an outage only lets `freshness` age. */
  run(signal: AbortSignal): Promise<void>
  /**
   * Brings Postgres and the meter to the head of the chain, or as far as one tick goes.
   *
   * @throws when the chain or Postgres does not answer; the next tick goes on where this one began
   */
  tick(): Promise<void>
  /** The head that Postgres mirrors, and when it was last compared with the chain. Undefined before the first time. */
  freshness(): Freshness | undefined
}

export type Freshness = {
  block: bigint
  /** Milliseconds since 1970. */
  checkedAt: number
}

export type IndexerOptions = {
  db: Db
  client: PublicClient
  meter: Meter
  module: Address
  token: Address
  chainId: number
  /** The first block that can hold an event of the module or its reserve. */
  startBlock: bigint
  clock(): number
  logger: Logger
  pollMs: number
  /** Past this age paid calls are refused. Another process takes over well before. */
  staleAfterMs: number
  /** Blocks of one log query at most, 2,000 by default; halved by itself while the node refuses. */
  maxRangeBlocks?: bigint
  /** Copies to the meter; one for the process, shared with whoever else copies. Made here when left out. */
  mirror?: AccountMirror
  metrics?: Registry
}

/** Limits of one tick, so that catching up is many short transactions. */
const maxRangesPerTick = 10n
const accountsPerFlush = 500
const accountsPerPage = 1_000
const maxBackOffMs = 10_000

/**
 * Mirrors the chain. Events of the module, its reserve and the token say what changed; the state itself is read from the chain at
 * the head. So a reorganisation only means: forget the events of the blocks that are gone, read again what they touched.
 *
 * Several processes may run one; the one that wrote the cursor last goes on, the others stand by and take over when it
 * is silent. Two at once do no harm: a step only counts when the cursor is where it began.
 */
export function createIndexer(options: IndexerOptions): Indexer {
  const { db, client, meter, module, token, chainId, startBlock, clock, logger, pollMs, staleAfterMs } = options
  const { maxRangeBlocks = 2_000n } = options
  const name = `${chainId}:${module.toLowerCase()}`
  const mirror = options.mirror ?? createAccountMirror({ db, meter, token, clock, logger })
  const chain = createChainReader({ client, module, token, maxRangeBlocks })
  const payeeBlocks = createPayeeBlockFollower({ db, token, clock, mirror })
  const endedGrants = createEndedGrants({ db, meter, mirror, token, clock })
  const metrics = options.metrics && createMetrics(options.metrics)
  const takeOverMs = Math.min(staleAfterMs / 3, 5 * pollMs)

  /** Accounts whose money is followed; undefined while another process leads. */
  let followed: Set<Address> | undefined
  /** What this process wrote to the cursor last. */
  let ownCheckedAt: number | undefined
  let fresh: Freshness | undefined
  let failures = 0

  /** True when the head is reached. */
  async function step(): Promise<boolean> {
    const cursor = await getCursor(db, name)
    const reached = standBy(cursor) || (await lead(cursor))
    const dirty = await mirror.flush(accountsPerFlush)
    metrics?.dirty.set(dirty)
    if (fresh) metrics?.block.set(Number(fresh.block))
    return reached
  }

  /** Whether another process does the work. */
  function standBy(cursor: IndexerCursor | undefined): boolean {
    const checkedAt = cursor?.checkedAt.getTime()
    if (!cursor || checkedAt === undefined || checkedAt === ownCheckedAt) return false
    fresh = checkedAt > 0 ? { block: cursor.blockNumber, checkedAt } : undefined
    if (clock() - checkedAt > takeOverMs) return false
    followed = undefined
    return true
  }

  async function lead(cursor: IndexerCursor | undefined): Promise<boolean> {
    const checkedAt = clock()
    followed ??= await takeOver()
    await payeeBlocks.follow()
    await endedGrants.follow()
    const head = await client.getBlock({ blockTag: 'latest' })
    const reached = cursor?.blockNumber ?? startBlock - 1n
    if (head.number < reached) {
      // A node that is behind, or a fork that has not overtaken: nothing to learn from it.
      logger.warn({ head: head.number.toString(), indexed: reached.toString() }, 'the chain is behind what was indexed')
      return true
    }
    const fork = cursor && (await forkOf(cursor, head))
    const done = fork ? await reorganise(fork, head, checkedAt) : await follow(db, cursor, head, checkedAt, undefined)
    return done ?? true
  }

  async function takeOver(): Promise<Set<Address>> {
    const accounts = new Set<Address>()
    let after: { account: Address; token: Address } | undefined
    do {
      const page = await listLiveAccounts(db, { now: new Date(clock()), after, limit: accountsPerPage })
      for (const live of page) if (live.token === token) accounts.add(live.account)
      after = page.length === accountsPerPage ? page.at(-1) : undefined
    } while (after)
    mirror.markDirty(accounts)
    logger.info({ accounts: accounts.size }, 'this process indexes the chain')
    return accounts
  }

  /** The newest block that was indexed and is still part of the chain; undefined when the cursor's is. */
  async function forkOf(cursor: IndexerCursor, head: Head): Promise<IndexedBlock | undefined> {
    if (cursor.blockHash === (await hashOf(cursor.blockNumber, head))) return undefined
    for (const block of await listIndexedBlocks(db)) {
      if (block.number <= head.number && block.hash === (await hashOf(block.number, head))) return block
    }
    logger.error({ indexed: cursor.blockNumber.toString() }, 'no indexed block is part of the chain: indexing it anew')
    return { number: startBlock - 1n, hash: zeroHash }
  }

  async function hashOf(number: bigint, head: Head): Promise<Hex> {
    if (number === head.number) return head.hash
    if (number === head.number - 1n) return head.parentHash
    return (await client.getBlock({ blockNumber: number })).hash
  }

  /** One transaction over going back and forth again: what was read from lost blocks is never seen as if it held. */
  function reorganise(block: IndexedBlock, head: Head, checkedAt: number): Promise<boolean | undefined> {
    logger.warn({ fork: block.number.toString(), head: head.number.toString() }, 'the chain was reorganised')
    metrics?.reorganisations.inc()
    return withService(db, async (tx) => {
      const unwound = await deleteAbove(tx, { name, block, checkedAt: new Date(fresh?.checkedAt ?? 0) })
      if (!unwound) return undefined
      const base = { name, blockNumber: block.number, blockHash: block.hash, checkedAt: new Date(0) }
      return follow(tx, base, head, checkedAt, unwound)
    })
  }

  /** Mirrors the blocks above `cursor`. True when the head is reached, undefined when another process was faster. */
  async function follow(
    queryable: Queryable,
    cursor: IndexerCursor | undefined,
    head: Head,
    checkedAt: number,
    unwound: Unwound | undefined,
  ): Promise<boolean | undefined> {
    const from = (cursor?.blockNumber ?? startBlock - 1n) + 1n
    const last = from + maxRangesPerTick * chain.rangeBlocks() - 1n
    const to = head.number <= last ? head : await client.getBlock({ blockNumber: last })
    const atHead = to.number === head.number
    const step: IndexerStep = {
      name,
      from: cursor?.blockNumber,
      blocks: to.number >= from ? [{ number: to.number, hash: to.hash }] : [],
      ...(await read(queryable, from, to.number, { number: head.number, hash: head.hash }, unwound)),
      checkedAt: new Date(atHead ? checkedAt : (fresh?.checkedAt ?? 0)),
    }
    if (!(await advance(queryable, step))) return undefined
    ownCheckedAt = step.checkedAt.getTime()
    if (atHead) fresh = { block: head.number, checkedAt }
    for (const { account } of step.accounts) followed?.add(account)
    mirror.markDirty(step.accounts.map(({ account }) => account))
    return atHead
  }

  /** What changed in [from, to] or was unwound, as it is at the head. */
  async function read(
    queryable: Queryable,
    from: bigint,
    to: bigint,
    at: StateBlock,
    unwound: Unwound | undefined,
  ): Promise<Pick<IndexerStep, 'events' | 'grants' | 'grantStates' | 'accounts' | 'channels'>> {
    const { events, created, rejected } = to < from ? nothing : await readEvents(from, to)
    if (rejected.length > 0) logger.error({ grants: rejected }, 'the module announced grants that make no sense')

    const known = new Map(created.map((grant) => [grant.grantId, grant]))
    async function find(grantId: Hex): Promise<CreatedGrant | undefined> {
      const grant = known.get(grantId) ?? toCreated(await getGrant(queryable, grantId))
      if (grant) known.set(grantId, grant)
      return grant
    }

    const touched = new Set([...events.flatMap(({ grantId }) => grantId ?? []), ...(unwound?.grantIds ?? [])])
    const grants: CreatedGrant[] = []
    for (const grantId of touched) {
      const grant = await find(grantId)
      if (grant) grants.push(grant)
    }

    const accounts = new Set(await movedFunds(from, to))
    for (const { account, token: granted } of unwound?.accounts ?? []) if (granted === token) accounts.add(account)
    for (const { account, terms } of grants) if (terms.token === token) accounts.add(account)
    for (const { account } of events) if (account && followed?.has(account)) accounts.add(account)

    const states = new Map((await chain.grants(grants, at)).map((state) => [state.grantId, state]))
    const isNew = new Set(created.map(({ grantId }) => grantId))
    return {
      events,
      grants: created.flatMap((grant) => {
        const state = states.get(grant.grantId)
        return state ? [{ ...grant, ...state }] : []
      }),
      grantStates: [...states.values()].filter(({ grantId }) => !isNew.has(grantId)),
      accounts: await chain.accounts([...accounts], at),
      channels: await readChannels(queryable, channelsOf(events, unwound), find, at, events),
    }
  }

  async function readEvents(from: bigint, to: bigint): Promise<DecodedEvents> {
    const logs = await chain.logs(from, to)
    return decodeEvents(logs, { chainId, module, reserve: await chain.reserve(), token })
  }

  async function movedFunds(from: bigint, to: bigint): Promise<Set<Address>> {
    return to < from ? new Set() : chain.movedFunds(from, to, [...(followed ?? [])])
  }

  async function readChannels(
    queryable: Queryable,
    touched: TouchedChannel[],
    find: (grantId: Hex) => Promise<CreatedGrant | undefined>,
    at: StateBlock,
    events: IndexerStep['events'],
  ): Promise<ChannelFromChain[]> {
    const channels: ChannelFromChain[] = []
    for (const { grantId, payee, paid } of touched) {
      // Anybody can have a claim skipped for any payee: that alone opens no channel.
      if (!paid && !(await getChannel(queryable, grantId, payee))) continue
      const grant = await find(grantId)
      if (!grant) continue
      const settled =
        (await chain.channelSettled(grant, payee, at)) ??
        settledIn(events, grantId, payee) ??
        (await latestSettled(queryable, grantId, payee))
      channels.push({ grantId, payee, settled, blockNumber: at.number })
    }
    return channels
  }

  return {
    freshness: () => fresh,
    async tick() {
      await step()
    },
    async run(signal) {
      while (!signal.aborted) {
        let waitMs = pollMs
        try {
          // Behind: go on at once.
          if (!(await step())) waitMs = 0
          if (failures > 0) logger.info({ failures }, 'the chain is indexed again')
          failures = 0
        } catch (error) {
          failures++
          metrics?.failures.inc()
          waitMs = Math.min(maxBackOffMs, pollMs * 2 ** Math.min(failures, 10))
          const ageMs = fresh && clock() - fresh.checkedAt
          const level = ageMs === undefined || ageMs > staleAfterMs ? 'error' : 'warn'
          logger[level]({ err: error, ageMs, waitMs }, 'the chain could not be indexed')
        }
        if (waitMs > 0) await setTimeout(waitMs, undefined, { signal }).catch(() => {})
      }
    },
  }
}

type Head = { number: bigint; hash: Hex; parentHash: Hex }
type TouchedChannel = { grantId: Hex; payee: Address; paid: boolean }

const nothing: DecodedEvents = { events: [], created: [], rejected: [] }

function channelsOf(events: IndexerStep['events'], unwound: Unwound | undefined): TouchedChannel[] {
  const touched = new Map<string, TouchedChannel>()
  for (const channel of unwound?.channels ?? []) touched.set(keyOf(channel), { ...channel, paid: true })
  for (const { grantId, payee, name } of events) {
    if (!grantId || !payee) continue
    const key = keyOf({ grantId, payee })
    touched.set(key, { grantId, payee, paid: name === 'Settled' || touched.get(key)?.paid === true })
  }
  return [...touched.values()]
}

function keyOf({ grantId, payee }: { grantId: Hex; payee: Address }): string {
  return `${grantId} ${payee}`
}

function settledIn(events: IndexerStep['events'], grantId: Hex, payee: Address): bigint | undefined {
  const last = events.findLast(
    (event) => event.name === 'Settled' && event.grantId === grantId && event.payee === payee,
  )
  return last && BigInt(String(last.data.settled))
}

function toCreated(grant: Awaited<ReturnType<typeof getGrant>>): CreatedGrant | undefined {
  if (!grant) return undefined
  const { grantId, account, epoch } = grant
  const { sessionKey, settler, token, totalLimit, periodLimit, period, validAfter, validUntil } = grant
  const { payeeRoot, source, salt } = grant
  const limits = { totalLimit, periodLimit, period, validAfter, validUntil }
  return { grantId, account, epoch, terms: { sessionKey, settler, token, ...limits, payeeRoot, source, salt } }
}

function createMetrics(registry: Registry) {
  return {
    block: new Gauge({
      name: 'gateway_indexer_block',
      help: 'The newest block whose state is mirrored.',
      registers: [registry],
    }),
    dirty: new Gauge({
      name: 'gateway_indexer_dirty_accounts',
      help: 'Accounts that wait to be copied to the meter.',
      registers: [registry],
    }),
    reorganisations: new Counter({
      name: 'gateway_indexer_reorganisations_total',
      help: 'Times the chain took blocks back that were indexed.',
      registers: [registry],
    }),
    failures: new Counter({
      name: 'gateway_indexer_failures_total',
      help: 'Ticks in which the chain or Postgres did not answer.',
      registers: [registry],
    }),
  }
}
