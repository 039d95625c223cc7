import type { GrantSource } from '@protocolbanks/stream-protocol'
import { Cluster, type Redis } from 'ioredis'
import { type Address, getAddress, type Hex } from 'viem'
import { assertCapture } from './assertCapture.ts'
import { assertInstance } from './assertInstance.ts'
import { assertUse } from './assertUse.ts'
import { createGrouping, type Grouping } from './createGrouping.ts'
import { MeterFullError, MeterUnavailableError, MeterUsageError } from './errors.ts'
import type { StoreLook } from './generations.ts'
import type { Ledger } from './ledger.ts'
import { createLowWater, type LowWater } from './lowWater.ts'
import {
  type AccountState,
  type ChannelMeter,
  type Decision,
  type ExposureLimit,
  type GrantMeter,
  type GrantStatus,
  type MalformedUsage,
  type Meter,
  partitionCount,
  type RefusalCode,
  type SpendingLimit,
  type Ticket,
  type UsageEvent,
  type Use,
} from './meter.ts'
import { parseUsageEntry } from './parseUsageEntry.ts'
import { partitionOf } from './partitionOf.ts'
import { createRedisBudgets } from './redisBudgets.ts'
import { createRedisDurability, type DurabilityOptions } from './redisDurability.ts'
import { type RedisPolicy, readRedisPolicy } from './redisPolicy.ts'
import { type CaptureArguments, type ChargeArguments, type ChargeKeys, defineRedisScripts } from './redisScripts.ts'
import { minuteOf } from './spending.ts'
import { toCreditArgument } from './toCreditArgument.ts'
import { toLimitFields, toSpendingArguments } from './toSpendingArguments.ts'
import { clampAmount } from './transitions.ts'

export type RedisMeterOptions = {
  /**
   * Made by `createMeterRedis`, or with its options: a charge must never be sent twice by the client, and every command
   * must end in bounded time. Stays open when the meter is closed.
   */
  redis: Redis | Cluster
  /** Of this process, new at every start: it owns the requests that it charges. */
  instance: string
  /** Before every key. No braces: they would change the hash slots. */
  prefix?: string
  watermarkIntervalMs?: number
  /** A process that is silent for longer is forgotten: its charges stand. */
  watermarkTtlMs?: number
  /** How long a request id is remembered, and at most how long a charge may stay without an outcome. */
  requestRetentionMs?: number
  /** How long what has ended stays, when it owes nothing and is journalled: a day, as long as the longest window. */
  endedRetentionMs?: number
  /** Usage events that may wait for the journal, per partition. */
  maxStreamLength?: number
  /** Without it, charges that had not reached the journal are lost with the store. */
  durability?: DurabilityOptions | undefined
}

/** Charges whose answer was lost, per partition, that are taken back when Redis answers again. */
const maxDoubts = 1000
const doubtsPerBeat = 100
const idsPerAcknowledge = 500
/** Tries of one charge whose partition is being rebuilt. */
const maxTries = 3
const maxGrantsPerMirror = 1000

/**
 * The meter in Redis 7 or later (or a Redis Cluster), for any number of gateway processes. Its Redis must not evict keys
 * (`maxmemory-policy noeviction`), or nothing is charged, and should persist (`appendonly yes`). When it has lost
 * everything, charges answer `grant.unknown` until `mirror` brings the account back from Postgres.
 */
export function createRedisMeter(options: RedisMeterOptions): Meter {
  const { redis, instance, prefix = 'stream:' } = options
  const { watermarkIntervalMs = 100, watermarkTtlMs = 10_000, requestRetentionMs = 600_000 } = options
  const { maxStreamLength = 50_000, endedRetentionMs = 86_400_000 } = options
  assertInstance(instance)
  if (/[{}]/.test(prefix)) throw new MeterUsageError('The key prefix holds a brace.', [`Prefix: ${prefix}`])

  const scripts = defineRedisScripts(redis)
  const partitions = Array.from({ length: partitionCount }, (_, index): Partition => {
    return { index, marks: `${prefix}{p${index}}:marks`, run: '', ...createCounting(index, 0) }
  })
  const durability =
    options.durability &&
    createRedisDurability({
      ...options.durability,
      redis,
      scripts,
      instance,
      prefix,
      maxStreamLength,
      look: (index) => look(partitionAt(index)),
      adopt(index, generation) {
        Object.assign(partitionAt(index), createCounting(index, generation))
      },
      inStream,
    })
  const ledger = durability?.ledger
  // Nodes of a cluster do not wait for each other.
  const groupings = Array.from({ length: redis instanceof Cluster ? partitionCount : 1 }, () => createGrouping())
  const stopping = new AbortController()
  const following = durability?.run(stopping.signal)
  let policy: RedisPolicy | undefined
  let closed = false
  let beating: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  /** Keys and bookkeeping of a partition in a generation; 0 where the meter has none. */
  function createCounting(index: number, generation: number): Counting {
    const tag = generation === 0 ? `${prefix}{p${index}}:` : `${prefix}{p${index}}:g${generation}:`
    return {
      generation,
      tag,
      usage: `${tag}usage`,
      exposure: `${tag}exposure`,
      lowWater: createLowWater(requestRetentionMs),
      doubts: new Map(),
      beats: 0,
      wentBack: false,
    }
  }

  /** Runs a command that depends on the partition's generation, once that is open. */
  async function inGeneration<answer>(partition: Partition, command: () => Promise<answer>): Promise<answer> {
    if (!durability) return command()
    const { generations } = durability
    while (generations.current(partition.index) === undefined) {
      assertReady()
      await generations.untilOpen(partition.index)
    }
    generations.enter(partition.index)
    try {
      return await command()
    } finally {
      generations.leave(partition.index)
    }
  }

  function suspectAll() {
    for (const { index } of partitions) durability?.generations.suspect(index)
  }

  function groupingOf({ index }: Partition): Grouping {
    return groupings[index % groupings.length] ?? ((command) => command())
  }

  function partitionAt(index: number): Partition {
    const partition = partitions[index]
    if (!partition)
      throw new MeterUsageError('There is no such partition.', [`Partition: ${index} of ${partitionCount}`])
    return partition
  }

  async function charge(use: Use): Promise<Decision> {
    assertUse(use)
    assertReady()
    const partition = partitionAt(partitionOf(use.account))
    if (!durability) return chargeOnce(partition, use)
    if (ledger?.isFull) throw ledgerFull(partition.index, ledger.size)
    for (let tries = 1; ; tries += 1) {
      try {
        return await inGeneration(partition, () => chargeOnce(partition, use))
      } catch (error) {
        if (!(error instanceof GenerationEndedError) || tries === maxTries) throw error
        durability.generations.suspect(partition.index)
      }
    }
  }

  async function chargeOnce(partition: Partition, use: Use): Promise<Decision> {
    const keys = chargeKeys(partition, use)
    const payee = use.payee.toLowerCase()
    const { attempt, since } = partition.lowWater.open()
    const { signature } = use.event
    const written = toWritten(use, instance)
    let reply: string[]
    try {
      const args: ChargeArguments = [
        Math.floor(use.nowMs / 1000),
        minuteOf(use.nowMs),
        use.amount.toString(),
        clampAmount(use.cumulativeAmount).toString(),
        use.cumulativeAmount.toString(),
        signature,
        use.fingerprint,
        ...toSpendingArguments(use),
        use.settlementMarginSeconds,
        payee,
        use.event.service,
        instance,
        attempt,
        since,
        watermarkTtlMs,
        requestRetentionMs,
        maxStreamLength,
        written,
        toCreditArgument(use.credit),
        partition.generation === 0 ? '' : partition.generation,
      ]
      const answer = await groupingOf(partition)(() => scripts.charge(keys, args))
      reply = toStrings(answer)
    } catch (cause) {
      doubt(partition, attempt, { keys, payee })
      throw unavailable(cause)
    }

    const [outcome, ...rest] = reply
    if (outcome === 'ok') {
      const [streamId = '', authorized, charged, settled, provenBy, provenWith] = rest
      const channel = [authorized, charged, settled].map((amount) => amount ?? '0')
      const eventId = toEventId(partition, streamId)
      const ticket = ticketOf(use, use.amount, eventId)
      partition.lowWater.charged(attempt, eventId)
      ledger?.add(
        {
          eventId,
          partition: partition.index,
          account: use.account,
          grantId: use.grantId,
          payee: use.payee,
          requestId: use.requestId,
          fingerprint: use.fingerprint,
          amount: use.amount,
          cumulativeAmount: provenBy === undefined ? use.cumulativeAmount : BigInt(provenBy),
          occurredAtMs: timeOf(streamId),
          record: { ...use.event, signature: provenWith === undefined ? signature : (provenWith as Hex) },
        },
        { partition: partition.index, generation: partition.generation, atMs: now(), use: written },
      )
      return { ok: true, ticket, channel: toChannel(channel) }
    }
    partition.lowWater.close(attempt)
    if (outcome === 'lost') throw new GenerationEndedError(partition.index)
    if (outcome === 'full') {
      throw new MeterFullError({
        what: 'usage events wait for the journal',
        partition: partition.index,
        max: maxStreamLength,
        hint: 'Check that the journal writer reaches Postgres, then repeat the request with the same id.',
      })
    }
    if (outcome === 'duplicate') {
      const [owner = '', amount = '', eventId = '', ...channel] = rest
      // Not answered before: its charge was made, nobody was told, and it is about to be taken back.
      if (owner === instance && isDoubted(partition, keys)) {
        throw new MeterUnavailableError('An earlier charge of this request is being taken back.', {
          metaMessages: [`Request: ${use.requestId}`, 'Repeat the request with the same id.'],
        })
      }
      const ticket = ticketOf(use, BigInt(amount), toEventId(partition, eventId))
      return { ok: false, code: 'request.duplicate', instance: owner, ticket, channel: toChannel(channel) }
    }
    const [code, limit, ...channel] = rest
    return {
      ok: false,
      code: code as RefusalCode,
      channel: channel.length === 0 ? undefined : toChannel(channel),
      limit: limit === '' ? undefined : (limit as ExposureLimit | SpendingLimit),
    }
  }

  /** The charge may have been made although its answer was lost: it stays open until it is taken back. */
  function doubt(partition: Partition, attempt: number, doubt: Doubt) {
    partition.doubts.set(attempt, doubt)
    if (partition.doubts.size <= maxDoubts) return
    for (const oldest of partition.doubts.keys()) {
      partition.doubts.delete(oldest)
      partition.lowWater.close(oldest)
      return
    }
  }

  function isDoubted({ doubts }: Partition, [, , request]: ChargeKeys): boolean {
    for (const { keys } of doubts.values()) if (keys[2] === request) return true
    return false
  }

  async function settleDoubts(partition: Partition) {
    const { doubts, lowWater } = partition
    const some = [...doubts].slice(0, doubtsPerBeat)
    await Promise.all(
      some.map(async ([attempt, { keys, payee }]) => {
        await scripts.capture(keys, [payee, '0', instance, '', attempt])
        doubts.delete(attempt)
        lowWater.close(attempt)
      }),
    )
  }

  async function announce(partition: Partition): Promise<StoreLook> {
    const { marks, lowWater, generation } = partition
    const answer = await scripts.announce([marks], [instance, lowWater.mark() ?? ''])
    const [timeMs = '', counted = '', beats = '', storeRun = ''] = toStrings(answer)
    lowWater.heard(Number(timeMs))
    const seen = Number(counted)
    // What this process announced in the generation is there, or the store has forgotten it.
    if (seen === generation && generation === partition.generation) {
      if (Number(beats) < partition.beats) partition.wentBack = true
      else partition.beats = Number(beats) + 1
    }
    // What was seen of an older generation says nothing of this one, which another process may have begun because of it.
    return { generation: seen, storeRun, wentBack: partition.wentBack && seen === partition.generation }
  }

  async function look(partition: Partition): Promise<StoreLook> {
    const seen = await announce(partition)
    partition.run = seen.storeRun
    return seen
  }

  async function beatOf(partition: Partition) {
    const seen = await announce(partition)
    const isSame = seen.generation === partition.generation && seen.storeRun === partition.run && !seen.wentBack
    if (durability && !isSame) durability.generations.suspect(partition.index)
    await settleDoubts(partition)
  }

  async function beat() {
    // A partition that fails is announced again at the next beat; past the ttl its charges stand.
    if (redis.status === 'ready') await Promise.allSettled(partitions.map(beatOf))
  }

  async function inStream(index: number, events: readonly UsageEvent[]): Promise<Set<string>> {
    const { usage } = partitionAt(index)
    const found = await Promise.all(
      events.map(async ({ eventId }) => {
        const id = toStreamId(eventId)
        return (await redis.xrange(usage, id, id)).length > 0
      }),
    )
    return new Set(events.filter((_, position) => found[position]).map(({ eventId }) => eventId))
  }

  /** A Redis that may throw keys away is none to count in. */
  async function learnPolicy() {
    try {
      policy = await readRedisPolicy(nodesOf(redis))
    } catch {
      return
    }
    const { maxmemoryPolicy, keepsAppendOnlyFile } = policy
    if (maxmemoryPolicy !== 'noeviction') {
      options.durability?.logger.error({ maxmemoryPolicy }, 'Redis may evict keys: set maxmemory-policy to noeviction')
    }
    if (!keepsAppendOnlyFile) {
      options.durability?.logger.warn(
        'Redis keeps no append-only file (appendonly no): a restart of it empties the meter',
      )
    }
  }

  function scheduleBeat(delayMs: number) {
    timer = setTimeout(async () => {
      beating = beat()
      await beating
      if (!closed) scheduleBeat(watermarkIntervalMs)
    }, delayMs)
    timer.unref()
  }

  function assertReady() {
    if (closed) throw new MeterUnavailableError('The meter is closed.')
    if (redis.status !== 'ready') {
      throw new MeterUnavailableError('Redis is not connected.', { metaMessages: [`Connection: ${redis.status}`] })
    }
    if (policy && policy.maxmemoryPolicy !== 'noeviction') {
      throw new MeterUnavailableError('Redis may evict keys, so nothing can be metered in it.', {
        metaMessages: [`maxmemory-policy: ${policy.maxmemoryPolicy}`, 'Set it to noeviction.'],
      })
    }
  }

  function now(): number {
    return options.durability?.monotonicClock() ?? 0
  }

  /** Whether a charge belongs to what the partition counts in now. */
  function isCurrent(partition: Partition, { eventId }: Pick<Ticket, 'eventId'>): boolean {
    return eventId.startsWith(toEventId(partition, ''))
  }

  /** What Redis answers, or `MeterUnavailableError`. */
  async function ask<answer>(command: () => Promise<answer>): Promise<answer> {
    assertReady()
    try {
      return await command()
    } catch (cause) {
      throw unavailable(cause)
    }
  }

  function chargeKeys({ tag, marks, usage, exposure }: Partition, use: ChannelRequest): ChargeKeys {
    const { account, grantId, payee, requestId } = use
    return [
      grantKey(tag, account, grantId),
      accountKey(tag, account),
      requestKey(tag, grantId, payee, requestId),
      marks,
      usage,
      exposure,
    ]
  }

  const budgets = createRedisBudgets({ scripts, ask, keyOf: (index) => partitionAt(index).exposure })
  // A connection that broke may come back to another server, or to the same with less in it.
  redis.on('close', suspectAll)
  redis.on('-node', suspectAll)
  redis.on('ready', learnPolicy)
  if (redis.status === 'ready') void learnPolicy()
  scheduleBeat(0)

  return {
    kind: 'redis',
    charge,
    served(ticket) {
      partitionAt(partitionOf(ticket.account)).lowWater.closeEvent(ticket.eventId)
      ledger?.settle(ticket.eventId)
    },
    async capture(ticket, amount) {
      assertCapture(ticket, amount)
      const partition = partitionAt(partitionOf(ticket.account))
      return inGeneration(partition, async () => {
        // The store has lost this charge, and it stands: the journal may have it by now.
        if (durability && !isCurrent(partition, ticket)) return { ok: false, code: 'capture.too_late' }
        const keys = chargeKeys(partition, ticket)
        const payee = ticket.payee.toLowerCase()
        const args: CaptureArguments = [payee, amount.toString(), instance, toStreamId(ticket.eventId), '']
        const answer = await ask(() => scripts.capture(keys, args)).catch((error) => {
          ledger?.doubt(ticket.eventId)
          throw error
        })
        partition.lowWater.closeEvent(ticket.eventId)
        const [outcome, authorized = '0', charged = '0', settled = '0', streamId = ''] = toStrings(answer)
        if (outcome !== 'ok') {
          ledger?.settle(ticket.eventId)
          return { ok: false, code: 'capture.too_late' }
        }
        const whole = ledger?.get(ticket.eventId)
        const captured = streamId !== '' && whole && { ...whole, amount, occurredAtMs: timeOf(streamId) }
        ledger?.capture(ticket.eventId, captured ? { ...captured, eventId: toEventId(partition, streamId) } : undefined)
        return { ok: true, channel: toChannel([authorized, charged, settled]) }
      })
    },
    async adopt({ account, grantId, payee, requestId, from }) {
      const partition = partitionAt(partitionOf(account))
      return inGeneration(partition, async () => {
        const keys: [string, string] = [requestKey(partition.tag, grantId, payee, requestId), partition.marks]
        return (await ask(() => scripts.adopt(keys, [from, instance, watermarkTtlMs]))) === 1
      })
    },
    ownUsage: (eventId) => ledger?.get(eventId),
    async epoch(account) {
      const partition = partitionAt(partitionOf(account))
      return inGeneration(partition, async () => partition.generation)
    },
    async holds(account, token) {
      const partition = partitionAt(partitionOf(account))
      return inGeneration(partition, async () => {
        const field = `block:${token.toLowerCase()}`
        return (await ask(() => redis.hexists(accountKey(partition.tag, account), field))) === 1
      })
    },
    async mirror(state) {
      if (state.grants.length > maxGrantsPerMirror) {
        throw new MeterUsageError('Too many grants in one mirror.', [
          `Grants: ${state.grants.length}, at most ${maxGrantsPerMirror}`,
          'Mirror them in several steps with the same block.',
        ])
      }
      const partition = partitionAt(partitionOf(state.account))
      await inGeneration(partition, async () => {
        if (state.epoch !== undefined && state.epoch !== partition.generation) {
          throw new GenerationEndedError(partition.index)
        }
        const { tag, exposure } = partition
        // Requests first: once a grant is known, no retry may find its id unused.
        await ask(() =>
          Promise.all(
            (state.requests ?? []).map(({ grantId, payee, requestId, fingerprint, amount, eventId }) =>
              redis.set(
                requestKey(tag, grantId, payee, requestId),
                `|0|${clampAmount(amount)}|${toStreamId(eventId)}|${fingerprint}`,
                'PX',
                requestRetentionMs,
                'NX',
              ),
            ),
          ),
        )
        const grantKeys = state.grants.map(({ grantId }) => grantKey(tag, state.account, grantId))
        const args: [string, number] = [toMirrorJson(state), endedRetentionMs]
        await ask(() => scripts.mirror([accountKey(tag, state.account), exposure, ...grantKeys], args))
      })
    },
    budgets,
    async exposureOf(token, payee) {
      const parts = await budgets.read(token, payee)
      return parts.reduce((sum, { used }) => sum + used, 0n)
    },
    async read(account, grantId) {
      const partition = partitionAt(partitionOf(account))
      return inGeneration(partition, async () => {
        const { tag } = partition
        const answer = await ask(() => scripts.read([grantKey(tag, account, grantId), accountKey(tag, account)]))
        const [grant, counters] = answer as [unknown, unknown]
        return toGrantMeter(toFields(grant), toFields(counters))
      })
    },
    async refuse(account, grantId) {
      const partition = partitionAt(partitionOf(account))
      return inGeneration(partition, async () => {
        return (await ask(() => scripts.refuse([grantKey(partition.tag, account, grantId)]))) === 1
      })
    },
    async readUsage(index, limit, onMalformed = () => {}) {
      const partition = partitionAt(index)
      // What waits in a store that is being looked at is read when it is known to be whole.
      if (durability && durability.generations.current(index) === undefined) return []
      return inGeneration(partition, async () => {
        const entries = await ask(() => scripts.readUsage([partition.marks, partition.usage], [limit, watermarkTtlMs]))
        return toUsageEvents(partition, entries as [string, string[]][], onMalformed, ledger)
      })
    },
    async peekUsage(index, after, limit) {
      const partition = partitionAt(index)
      const from = after === undefined ? '-' : `(${toStreamId(after)}`
      return inGeneration(partition, async () => {
        const entries = await ask(() => redis.xrange(partition.usage, from, '+', 'COUNT', limit))
        return toUsageEvents(partition, entries, () => {}, ledger)
      })
    },
    async acknowledge(index, eventIds) {
      const partition = partitionAt(index)
      ledger?.forget(eventIds)
      const current = eventIds.filter((eventId) => isCurrent(partition, { eventId }))
      for (let start = 0; start < current.length; start += idsPerAcknowledge) {
        const ids = current.slice(start, start + idsPerAcknowledge).map(toStreamId)
        await ask(() => redis.xdel(partition.usage, ...ids))
      }
    },
    async ping() {
      if (redis.status !== 'ready') await untilReady(redis)
      if (!policy) await learnPolicy()
      await ask(() => Promise.all(nodesOf(redis).map((node) => node.ping())))
      if (durability) await Promise.all(partitions.map(({ index }) => durability.generations.untilOpen(index)))
    },
    async close() {
      if (closed) return
      closed = true
      redis.off('close', suspectAll)
      redis.off('-node', suspectAll)
      redis.off('ready', learnPolicy)
      clearTimeout(timer)
      await beating
      stopping.abort()
      await following
      await durability?.leave()
      if (redis.status !== 'ready') return
      // Best effort: past the ttl the marks are forgotten anyway.
      await Promise.allSettled(partitions.map(({ marks }) => redis.hdel(marks, `mark:${instance}`)))
    },
  }
}

type Partition = Counting & {
  index: number
  marks: string
  /** The run of Redis that the partition was last looked at on. */
  run: string
}

/** Of one generation of a partition. */
type Counting = {
  generation: number
  tag: string
  usage: string
  exposure: string
  lowWater: LowWater
  doubts: Map<number, Doubt>
  /** How often this process has announced itself in it, as Redis acknowledged. */
  beats: number
  wentBack: boolean
}

type Doubt = { keys: ChargeKeys; payee: string }

type ChannelRequest = Pick<Ticket, 'account' | 'grantId' | 'payee' | 'requestId'>

type Fields = Map<string, string>

function grantKey(tag: string, account: Address, grantId: Hex): string {
  return `${tag}grant:${account.toLowerCase()}:${grantId.toLowerCase()}`
}

function accountKey(tag: string, account: Address): string {
  return `${tag}account:${account.toLowerCase()}`
}

function requestKey(tag: string, grantId: Hex, payee: Address, requestId: string): string {
  return `${tag}request:${grantId.toLowerCase()}:${payee.toLowerCase()}:${requestId}`
}

/** Event ids are unique over partitions; the stream's own ids are not. */
function toEventId({ index, generation }: Partition, streamId: string): string {
  return generation === 0 ? `p${index}-${streamId}` : `p${index}.${generation}-${streamId}`
}

function toStreamId(eventId: string): string {
  return eventId.slice(eventId.indexOf('-') + 1)
}

/** Of an entry of a stream, in milliseconds since 1970. */
function timeOf(streamId: string): number {
  return Number(streamId.slice(0, streamId.indexOf('-')))
}

function ticketOf(use: Use, amount: bigint, eventId: string): Ticket {
  const { account, grantId, payee, requestId } = use
  return { account, grantId, payee, requestId, amount, eventId }
}

function toStrings(reply: unknown): string[] {
  if (!Array.isArray(reply)) throw new Error(`Redis answered ${typeof reply} where a list was expected.`)
  return reply.map(String)
}

function toFields(reply: unknown): Fields {
  const list = toStrings(reply)
  const fields: Fields = new Map()
  for (let index = 0; index + 1 < list.length; index += 2) fields.set(list[index] ?? '', list[index + 1] ?? '')
  return fields
}

function toChannel([authorized = '0', charged = '0', settled = '0']: string[]): ChannelMeter {
  return { authorized: BigInt(authorized), charged: BigInt(charged), settled: BigInt(settled) }
}

function toGrantMeter(grant: Fields, account: Fields): GrantMeter | undefined {
  const token = grant.get('token')
  if (token === undefined) return undefined
  const source = (grant.get('source') ?? 'allowance') as GrantSource
  const pool = source === 'reserve' ? `${token}:reserve` : token
  const channels: Record<Address, ChannelMeter> = {}
  const accountExposure: Record<Address, bigint> = {}
  for (const field of grant.keys()) {
    if (!field.startsWith('charged:')) continue
    const payee = field.slice('charged:'.length)
    const amount = (name: string) => grant.get(`${name}:${payee}`) ?? '0'
    channels[getAddress(payee)] = toChannel([amount('authorized'), amount('charged'), amount('settled')])
    const exposure = BigInt(account.get(`exposure:${token}:${payee}`) ?? 0)
    if (exposure !== 0n) accountExposure[getAddress(payee)] = exposure
  }
  return {
    status: grant.get('status') as GrantStatus,
    source,
    settled: BigInt(grant.get('settled') ?? 0),
    owed: BigInt(grant.get('owed') ?? 0),
    channels,
    accountOutstanding: BigInt(account.get(`outstanding:${pool}`) ?? 0),
    accountFunds: BigInt(account.get(`funds:${pool}`) ?? 0),
    accountExposure,
  }
}

/** What the stream keeps of a use, beside its amounts and its signature. */
function toWritten({ account, grantId, payee, requestId, fingerprint, event }: Use, instance: string): string {
  const { signature: _, ...record } = event
  return JSON.stringify({ account, grantId, payee, requestId, fingerprint, record, by: instance })
}

function toUsageEvents(
  partition: Partition,
  entries: readonly [string, string[]][],
  onMalformed: (entry: MalformedUsage) => void,
  ledger: Ledger | undefined,
): UsageEvent[] {
  const events: UsageEvent[] = []
  for (const [id, list] of entries) {
    const eventId = toEventId(partition, id)
    // What this process wrote itself and finds unchanged it need not read.
    const own = ledger?.match(eventId, entryOf(list))
    if (own) {
      events.push(own)
      continue
    }
    const at = { eventId, partition: partition.index, occurredAtMs: timeOf(id) }
    const parsed = parseUsageEntry(at, toFields(list))
    if (parsed.ok) events.push(parsed.event)
    else onMalformed(parsed.malformed)
  }
  return events
}

/** As charge.lua writes it; a list of another order matches nothing, and is read as any other. */
function entryOf([, amount = '', , cumulative = '', , signature = '', , use = '']: string[]) {
  return { amount, cumulative, signature, use }
}

/** Amounts as strings that Lua holds exactly, addresses in lower case. */
function toMirrorJson(state: AccountState): string {
  const amount = (atomic: bigint) => clampAmount(atomic).toString()
  return JSON.stringify({
    token: state.token.toLowerCase(),
    block: state.block.toString(),
    funds: { allowance: amount(state.funds.allowance), reserve: amount(state.funds.reserve) },
    restores: state.requests !== undefined,
    grants: state.grants.map((grant) => ({
      source: grant.source,
      status: grant.status,
      ended: grant.ended,
      validAfter: grant.validAfter.toString(),
      validUntil: grant.validUntil.toString(),
      totalLimit: amount(grant.totalLimit),
      periodLimit: amount(grant.periodLimit),
      period: grant.period.toString(),
      settled: amount(grant.settled),
      periodIndex: grant.periodIndex.toString(),
      periodSettled: amount(grant.periodSettled),
      ...toLimitFields(grant.limits),
      channels: grant.channels.map((channel) => ({
        payee: channel.payee.toLowerCase(),
        authorized: amount(channel.authorized),
        charged: amount(channel.charged),
        settled: amount(channel.settled),
        status: channel.status,
      })),
    })),
  })
}

/** The partition counts in another generation by now. The same call may succeed there. */
class GenerationEndedError extends MeterUnavailableError {
  constructor(partition: number) {
    super('The meter was rebuilt meanwhile.', {
      metaMessages: [`Partition: ${partition}`, 'Repeat the request with the same id.'],
    })
  }
}

function ledgerFull(partition: number, max: number): MeterFullError {
  return new MeterFullError({
    what: 'charges of this process wait for the journal, over all partitions',
    partition,
    max,
    hint: 'Check that Postgres can be reached, then repeat the request with the same id.',
  })
}

function unavailable(cause: unknown): MeterUnavailableError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MeterUnavailableError('Redis did not answer.', {
    cause,
    metaMessages: [`Reason: ${reason.slice(0, 200)}`, 'Check that Redis is up and reachable.'],
  })
}

/** Nodes of a cluster are connected at their first command. */
function nodesOf(redis: Redis | Cluster): Redis[] {
  return redis instanceof Cluster ? redis.nodes('master') : [redis]
}

const readyTimeoutMs = 1000

function untilReady(redis: Redis | Cluster): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer)
      redis.off('ready', done)
      resolve()
    }
    const timer = setTimeout(() => {
      redis.off('ready', done)
      const metaMessages = [
        `Connection: ${redis.status} after ${readyTimeoutMs} ms`,
        'Check that Redis is up and reachable.',
      ]
      reject(new MeterUnavailableError('Redis is not connected.', { metaMessages }))
    }, readyTimeoutMs)
    redis.on('ready', done)
  })
}
