import type { GrantSource } from '@protocolbanks/stream-protocol'
import { Cluster, type Redis } from 'ioredis'
import { type Address, getAddress, type Hex } from 'viem'
import { assertCapture } from './assertCapture.ts'
import { assertInstance } from './assertInstance.ts'
import { assertUse } from './assertUse.ts'
import { minuteOf } from './decide.ts'
import { MeterFullError, MeterUnavailableError, MeterUsageError } from './errors.ts'
import { createLowWater, type LowWater } from './lowWater.ts'
import {
  type AccountState,
  type ChannelMeter,
  type Decision,
  type ExposureLimit,
  type GrantMeter,
  type GrantStatus,
  type Meter,
  partitionCount,
  type RefusalCode,
  type Ticket,
  type UsageEvent,
  type Use,
} from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { createRedisBudgets } from './redisBudgets.ts'
import { type ChargeKeys, defineRedisScripts } from './redisScripts.ts'
import { toCreditArgument } from './toCreditArgument.ts'
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
  /** Usage events that may wait for the journal, per partition. */
  maxStreamLength?: number
}

/** Charges whose answer was lost, per partition, that are taken back when Redis answers again. */
const maxDoubts = 1000
const doubtsPerBeat = 100
const idsPerAcknowledge = 500
const maxGrantsPerMirror = 1000

/**
 * The meter in Redis 7 or later (or a Redis Cluster), for any number of gateway processes. Its Redis must not evict keys
 * (`maxmemory-policy noeviction`) and should persist (`appendonly yes`). When it has lost everything, charges answer
 * `grant.unknown` until `mirror` brings the account back from Postgres.
 */
export function createRedisMeter(options: RedisMeterOptions): Meter {
  const { redis, instance, prefix = 'stream:' } = options
  const { watermarkIntervalMs = 100, watermarkTtlMs = 10_000, requestRetentionMs = 600_000 } = options
  const { maxStreamLength = 50_000 } = options
  assertInstance(instance)
  if (/[{}]/.test(prefix)) throw new MeterUsageError('The key prefix holds a brace.', [`Prefix: ${prefix}`])

  const scripts = defineRedisScripts(redis)
  const partitions = Array.from({ length: partitionCount }, (_, index): Partition => {
    const tag = `${prefix}{p${index}}:`
    return {
      index,
      tag,
      marks: `${tag}marks`,
      usage: `${tag}usage`,
      exposure: `${tag}exposure`,
      lowWater: createLowWater(requestRetentionMs),
      doubts: new Map(),
    }
  })
  let closed = false
  let beating: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

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
    const keys = chargeKeys(partition, use)
    const payee = use.payee.toLowerCase()
    const { attempt, since } = partition.lowWater.open()
    const { signature, ...record } = use.event
    let reply: string[]
    try {
      const answer = await scripts.charge(keys, [
        Math.floor(use.nowMs / 1000),
        minuteOf(use.nowMs),
        use.amount.toString(),
        clampAmount(use.cumulativeAmount).toString(),
        use.cumulativeAmount.toString(),
        signature,
        use.fingerprint,
        use.maxAmountPerCall === undefined ? '' : clampAmount(use.maxAmountPerCall).toString(),
        use.maxCallsPerMinute ?? '',
        use.settlementMarginSeconds,
        payee,
        use.event.service,
        instance,
        attempt,
        since,
        watermarkTtlMs,
        requestRetentionMs,
        maxStreamLength,
        JSON.stringify({
          account: use.account,
          grantId: use.grantId,
          payee: use.payee,
          requestId: use.requestId,
          fingerprint: use.fingerprint,
          record,
        }),
        toCreditArgument(use.credit),
      ])
      reply = toStrings(answer)
    } catch (cause) {
      doubt(partition, attempt, { keys, payee })
      throw unavailable(cause)
    }

    const [outcome, ...rest] = reply
    if (outcome === 'ok') {
      const [eventId = '', ...channel] = rest
      const ticket = ticketOf(use, use.amount, toEventId(partition, eventId))
      partition.lowWater.charged(attempt, ticket.eventId)
      return { ok: true, ticket, channel: toChannel(channel) }
    }
    partition.lowWater.close(attempt)
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
      const ticket = ticketOf(use, BigInt(amount), toEventId(partition, eventId))
      return { ok: false, code: 'request.duplicate', instance: owner, ticket, channel: toChannel(channel) }
    }
    const [code, limit, ...channel] = rest
    return {
      ok: false,
      code: code as RefusalCode,
      channel: channel.length === 0 ? undefined : toChannel(channel),
      limit: limit === '' ? undefined : (limit as ExposureLimit),
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

  async function settleDoubts(partition: Partition) {
    const some = [...partition.doubts].slice(0, doubtsPerBeat)
    await Promise.all(
      some.map(async ([attempt, { keys, payee }]) => {
        await scripts.capture(keys, [payee, '0', instance, '', attempt])
        partition.doubts.delete(attempt)
        partition.lowWater.close(attempt)
      }),
    )
  }

  async function announce(partition: Partition) {
    const { marks, lowWater } = partition
    const timeMs = await scripts.announce([marks], [instance, lowWater.mark() ?? ''])
    lowWater.heard(Number(timeMs))
    await settleDoubts(partition)
  }

  async function beat() {
    // A partition that fails is announced again at the next beat; past the ttl its charges stand.
    if (redis.status === 'ready') await Promise.allSettled(partitions.map(announce))
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
  scheduleBeat(0)

  return {
    kind: 'redis',
    charge,
    served(ticket) {
      partitionAt(partitionOf(ticket.account)).lowWater.closeEvent(ticket.eventId)
    },
    async capture(ticket, amount) {
      assertCapture(ticket, amount)
      const partition = partitionAt(partitionOf(ticket.account))
      const keys = chargeKeys(partition, ticket)
      const payee = ticket.payee.toLowerCase()
      const answer = await ask(() =>
        scripts.capture(keys, [payee, amount.toString(), instance, toStreamId(ticket.eventId), '']),
      )
      partition.lowWater.closeEvent(ticket.eventId)
      const [outcome, ...channel] = toStrings(answer)
      return outcome === 'ok' ? { ok: true, channel: toChannel(channel) } : { ok: false, code: 'capture.too_late' }
    },
    async adopt({ account, grantId, payee, requestId, from }) {
      const { tag, marks } = partitionAt(partitionOf(account))
      const keys: [string, string] = [requestKey(tag, grantId, payee, requestId), marks]
      return (await ask(() => scripts.adopt(keys, [from, instance, watermarkTtlMs]))) === 1
    },
    async mirror(state) {
      if (state.grants.length > maxGrantsPerMirror) {
        throw new MeterUsageError('Too many grants in one mirror.', [
          `Grants: ${state.grants.length}, at most ${maxGrantsPerMirror}`,
          'Mirror them in several steps with the same block.',
        ])
      }
      const { tag, exposure } = partitionAt(partitionOf(state.account))
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
      await ask(() => scripts.mirror([accountKey(tag, state.account), exposure, ...grantKeys], toMirrorJson(state)))
    },
    budgets,
    async exposureOf(token, payee) {
      const parts = await budgets.read(token, payee)
      return parts.reduce((sum, { used }) => sum + used, 0n)
    },
    async read(account, grantId) {
      const { tag } = partitionAt(partitionOf(account))
      const answer = await ask(() => scripts.read([grantKey(tag, account, grantId), accountKey(tag, account)]))
      const [grant, counters] = answer as [unknown, unknown]
      return toGrantMeter(toFields(grant), toFields(counters))
    },
    async readUsage(index, limit) {
      const partition = partitionAt(index)
      const entries = await ask(() => scripts.readUsage([partition.marks, partition.usage], [limit, watermarkTtlMs]))
      return (entries as [string, string[]][]).map(([id, fields]) => toUsageEvent(partition, id, toFields(fields)))
    },
    async peekUsage(index, after, limit) {
      const partition = partitionAt(index)
      const from = after === undefined ? '-' : `(${toStreamId(after)}`
      const entries = await ask(() => redis.xrange(partition.usage, from, '+', 'COUNT', limit))
      return entries.map(([id, fields]) => toUsageEvent(partition, id, toFields(fields)))
    },
    async acknowledge(index, eventIds) {
      const { usage } = partitionAt(index)
      for (let start = 0; start < eventIds.length; start += idsPerAcknowledge) {
        const ids = eventIds.slice(start, start + idsPerAcknowledge).map(toStreamId)
        await ask(() => redis.xdel(usage, ...ids))
      }
    },
    async ping() {
      if (redis.status !== 'ready') await untilReady(redis)
      await ask(() => Promise.all(nodesOf(redis).map((node) => node.ping())))
    },
    async close() {
      if (closed) return
      closed = true
      clearTimeout(timer)
      await beating
      if (redis.status !== 'ready') return
      // Best effort: past the ttl the marks are forgotten anyway.
      await Promise.allSettled(partitions.map(({ marks }) => redis.hdel(marks, `mark:${instance}`)))
    },
  }
}

type Partition = {
  index: number
  tag: string
  marks: string
  usage: string
  exposure: string
  lowWater: LowWater
  doubts: Map<number, Doubt>
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
function toEventId({ index }: Partition, streamId: string): string {
  return `p${index}-${streamId}`
}

function toStreamId(eventId: string): string {
  return eventId.slice(eventId.indexOf('-') + 1)
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

function toUsageEvent(partition: Partition, streamId: string, fields: Fields): UsageEvent {
  const { record, ...use } = JSON.parse(fields.get('use') ?? '{}')
  return {
    eventId: toEventId(partition, streamId),
    partition: partition.index,
    ...use,
    amount: BigInt(fields.get('amount') ?? 0),
    cumulativeAmount: BigInt(fields.get('cumulative') ?? 0),
    occurredAtMs: Number(streamId.slice(0, streamId.indexOf('-'))),
    record: { ...record, signature: fields.get('signature') },
  }
}

/** Amounts as strings that Lua holds exactly, addresses in lower case. */
function toMirrorJson(state: AccountState): string {
  const amount = (atomic: bigint) => clampAmount(atomic).toString()
  return JSON.stringify({
    token: state.token.toLowerCase(),
    block: state.block.toString(),
    funds: { allowance: amount(state.funds.allowance), reserve: amount(state.funds.reserve) },
    grants: state.grants.map((grant) => ({
      source: grant.source,
      status: grant.status,
      validAfter: grant.validAfter.toString(),
      validUntil: grant.validUntil.toString(),
      totalLimit: amount(grant.totalLimit),
      periodLimit: amount(grant.periodLimit),
      period: grant.period.toString(),
      settled: amount(grant.settled),
      periodIndex: grant.periodIndex.toString(),
      periodSettled: amount(grant.periodSettled),
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
