import { type Address, getAddress, type Hex } from 'viem'
import { assertCapture } from './assertCapture.ts'
import { assertInstance } from './assertInstance.ts'
import { assertUse } from './assertUse.ts'
import { decideCharge, owedOf } from './decide.ts'
import { createEmbeddedStore, type EmbeddedStore, type QueuedEvent } from './embeddedStore.ts'
import { MeterFullError, MeterUnavailableError, MeterUsageError } from './errors.ts'
import type { ChannelMeter, Decision, GrantMeter, Meter, Ticket, UsageEvent, Use } from './meter.ts'
import { partitionOf } from './partitionOf.ts'
import { countSpent, minuteOf, nothingSpent, uncountSpent } from './spending.ts'
import { hasLimit } from './toSpendingArguments.ts'
import {
  captureChannel,
  chargeChannel,
  clampAmount,
  emptyAccount,
  emptyChannel,
  isOlder,
  leavesAtMs,
  type MeteredAccount,
  type MeteredChannel,
  type MeteredGrant,
  mirrorGrant,
  owedChanges,
} from './transitions.ts'

export type EmbeddedMeterOptions = {
  /** Milliseconds since 1970; times events. */
  clock(): number
  instance: string
  /** Shared by the meters of one process. */
  store?: EmbeddedStore
  /** How long a request id is remembered, and at most how long a charge may stay without an outcome. */
  requestRetentionMs?: number
  /** How long what has ended stays, when it owes nothing and is journalled: a day, as long as the longest window. */
  endedRetentionMs?: number
  /** Usage events that may wait for the journal, per partition. */
  maxQueuedEvents?: number
  /** Request ids that are remembered at most. */
  maxRequests?: number
}

/**
 * The meter inside the one gateway process, for development and small installations. What it holds is gone with the
 * process: journalled charges come back by `mirror`, the last moments' are lost.
 */
export function createEmbeddedMeter(options: EmbeddedMeterOptions): Meter {
  const { clock, instance, store = createEmbeddedStore() } = options
  const { requestRetentionMs = 600_000, maxQueuedEvents = 50_000, maxRequests = 500_000 } = options
  const { endedRetentionMs = 86_400_000 } = options
  assertInstance(instance)
  store.instances.add(instance)
  let closed = false

  function charge(use: Use): Decision {
    assertUse(use)
    assertOpen()
    const partition = partitionOf(use.account)
    const queue = queueOf(partition)
    const payee = use.payee.toLowerCase()
    const mirrored = grantOf(use.account, use.grantId)
    const accountAt = accountKey(use.account, mirrored?.token ?? '')
    const counted = accountOf(accountAt)
    const grant = counted && mirrored
    const channel = grant?.channels.get(payee) ?? emptyChannel
    const source = grant?.source ?? 'allowance'
    const account = counted?.[source] ?? emptyAccount
    const exposure = {
      account: store.exposures.get(`${accountAt}:${payee}`) ?? 0n,
      total: store.exposures.get(`${grant?.token}:${payee}`) ?? 0n,
    }
    const spending = grant ? spendingOf(grant, use) : []
    const requestAt = requestKey(use)
    forgetRequests()
    const request = store.requests.get(requestAt)

    const verdict = decideCharge(
      { grant: grant?.counters, channel, source, account, exposure, spending, request },
      { ...use, cumulativeAmount: clampAmount(use.cumulativeAmount) },
    )
    if (!grant) return { ok: false, code: 'grant.unknown' }
    if (!verdict.ok) {
      if (verdict.code !== 'request.duplicate')
        return { ok: false, code: verdict.code, channel: toChannelMeter(channel), limit: verdict.limit }
      // The verdict says so only of a known request.
      const { instance: owner, amount, eventId } = request ?? { instance: '', amount: 0n, eventId: '' }
      const ticket = ticketOf(use, amount, eventId)
      return { ok: false, code: verdict.code, instance: owner, ticket, channel: toChannelMeter(channel) }
    }
    assertRoom(partition, queue)

    const voucher = { cumulativeAmount: use.cumulativeAmount, signature: use.event.signature }
    const charged = chargeChannel(channel, use.amount, voucher)
    const proof = charged.voucher ?? voucher
    const event = append(
      queue,
      {
        partition,
        account: use.account,
        grantId: use.grantId,
        payee: use.payee,
        requestId: use.requestId,
        fingerprint: use.fingerprint,
        amount: use.amount,
        cumulativeAmount: proof.cumulativeAmount,
        record: { ...use.event, signature: proof.signature },
      },
      true,
      { minute: minuteOf(use.nowMs), keys: spending.map(({ key }) => key) },
    )
    replaceChannel(grant, use.account, payee, charged)
    for (const { key, spent } of spending) grant.spent.set(key, countSpent(spent, use.amount, use.nowMs))
    store.requests.set(requestAt, {
      instance,
      fingerprint: use.fingerprint,
      amount: use.amount,
      eventId: event.eventId,
      expiresAtMs: clock() + requestRetentionMs,
    })
    return { ok: true, ticket: ticketOf(use, use.amount, event.eventId), channel: toChannelMeter(charged) }
  }

  function capture(ticket: Ticket, amount: bigint): Awaited<ReturnType<Meter['capture']>> {
    assertCapture(ticket, amount)
    assertOpen()
    const tooLate = { ok: false, code: 'capture.too_late' } as const
    const queue = queueOf(partitionOf(ticket.account))
    const queued = queue.get(ticket.eventId)
    if (!queued || queued.taken) return tooLate
    const requestAt = requestKey(ticket)
    const remembered = store.requests.get(requestAt)
    const request = remembered?.eventId === ticket.eventId ? remembered : undefined
    if (request && request.instance !== instance) return tooLate
    const grant = grantOf(ticket.account, ticket.grantId)
    const payee = ticket.payee.toLowerCase()
    const channel = grant?.channels.get(payee)
    if (!grant || !channel) return tooLate

    queue.delete(ticket.eventId)
    const captured = captureChannel(channel, queued.event.amount, amount)
    replaceChannel(grant, ticket.account, payee, captured)
    for (const key of queued.counted.keys) {
      const spent = grant.spent.get(key)
      if (spent) grant.spent.set(key, uncountSpent(spent, queued.event.amount - amount, queued.counted.minute))
    }
    if (amount === 0n) {
      if (request) store.requests.delete(requestAt)
    } else {
      const event = append(queue, { ...queued.event, amount }, false, queued.counted)
      if (request) store.requests.set(requestAt, { ...request, amount, eventId: event.eventId })
    }
    return { ok: true, channel: toChannelMeter(captured) }
  }

  function mirror(state: Parameters<Meter['mirror']>[0]) {
    assertOpen()
    for (const { amount, eventId, fingerprint, ...request } of state.requests ?? []) {
      const key = requestKey(request)
      if (store.requests.has(key)) continue
      const expiresAtMs = clock() + requestRetentionMs
      store.requests.set(key, { instance: '', fingerprint, amount: clampAmount(amount), eventId, expiresAtMs })
    }
    const accountAt = accountKey(state.account, state.token)
    forgetEnded()
    const known = accountOf(accountAt)
    if (isOlder(state, known)) return
    const nowMs = clock()
    let accountLeavesAtMs: number | undefined = nowMs + endedRetentionMs
    const outstanding = {
      allowance: known?.allowance.outstanding ?? 0n,
      reserve: known?.reserve.outstanding ?? 0n,
    }
    for (const grantState of state.grants) {
      const key = grantKey(state.account, grantState.grantId)
      const before = grantOf(state.account, grantState.grantId)
      // What has left is not brought back by the way.
      if (!before && grantState.ended && !state.requests) continue
      const { grant, more } = mirrorGrant(before, state.token.toLowerCase(), grantState)
      grant.leavesAtMs = leavesAtMs(before, grant, grantState, { nowMs, retentionMs: endedRetentionMs })
      accountLeavesAtMs = accountLeavesAtMs && grant.leavesAtMs && Math.max(accountLeavesAtMs, grant.leavesAtMs)
      store.grants.set(key, grant)
      outstanding[grant.source] += more
      for (const change of owedChanges(before?.channels, grant.channels)) {
        addExposure(grant, state.account, change.payee, change.more)
      }
    }
    const { allowance, reserve } = state.funds
    store.accounts.set(accountAt, {
      block: state.block,
      allowance: { funds: clampAmount(allowance), outstanding: outstanding.allowance },
      reserve: { funds: clampAmount(reserve), outstanding: outstanding.reserve },
      leavesAtMs: outstanding.allowance + outstanding.reserve > 0n ? undefined : accountLeavesAtMs,
    })
  }

  function read(account: Address, grantId: Hex): GrantMeter | undefined {
    assertOpen()
    const grant = grantOf(account, grantId)
    const counters = grant && accountOf(accountKey(account, grant.token))?.[grant.source]
    if (!grant || !counters) return undefined
    const channels: Record<Address, ChannelMeter> = {}
    for (const [payee, channel] of grant.channels) channels[getAddress(payee)] = toChannelMeter(channel)
    const accountExposure: Record<Address, bigint> = {}
    for (const payee of grant.channels.keys()) {
      const exposure = store.exposures.get(`${accountKey(account, grant.token)}:${payee}`)
      if (exposure !== undefined) accountExposure[getAddress(payee)] = exposure
    }
    return {
      status: grant.counters.status,
      source: grant.source,
      settled: grant.counters.settled,
      owed: grant.counters.owed,
      channels,
      accountOutstanding: counters.outstanding,
      accountFunds: counters.funds,
      accountExposure,
    }
  }

  function readUsage(partition: number, limit: number): UsageEvent[] {
    assertOpen()
    const events: UsageEvent[] = []
    for (const queued of queueOf(partition).values()) {
      if (events.length >= limit || isOpen(queued)) break
      queued.taken = true
      events.push(queued.event)
    }
    return events
  }

  function peekUsage(partition: number, after: string | undefined, limit: number): UsageEvent[] {
    assertOpen()
    const position = after === undefined ? -1 : positionOf(after)
    const events: UsageEvent[] = []
    for (const { event } of queueOf(partition).values()) {
      if (events.length >= limit) break
      if (positionOf(event.eventId) > position) events.push(event)
    }
    return events
  }

  /** Without an outcome, and its process can still give it one. */
  function isOpen({ open, instance: owner, event }: QueuedEvent): boolean {
    return open && store.instances.has(owner) && clock() - event.occurredAtMs <= requestRetentionMs
  }

  function append(
    queue: Map<string, QueuedEvent>,
    content: Omit<UsageEvent, 'eventId' | 'occurredAtMs'>,
    open: boolean,
    counted: QueuedEvent['counted'],
  ): UsageEvent {
    store.lastEventMs = Math.max(store.lastEventMs, clock())
    store.lastSequence += 1
    const eventId = `p${content.partition}-${store.lastEventMs}-${store.lastSequence}`
    const event: UsageEvent = { ...content, eventId, occurredAtMs: store.lastEventMs }
    queue.set(eventId, { event, instance, open, taken: false, counted })
    return event
  }

  function replaceChannel(grant: MeteredGrant, account: Address, payee: string, channel: MeteredChannel) {
    const more = owedOf(channel) - owedOf(grant.channels.get(payee) ?? emptyChannel)
    grant.channels.set(payee, channel)
    grant.leavesAtMs = undefined
    grant.counters = { ...grant.counters, owed: grant.counters.owed + more }
    addExposure(grant, account, payee, more)
    const key = accountKey(account, grant.token)
    const known = store.accounts.get(key)
    if (!known) return
    const { funds, outstanding } = known[grant.source]
    const counters = { funds, outstanding: outstanding + more }
    store.accounts.set(key, { ...known, [grant.source]: counters, leavesAtMs: undefined })
  }

  function grantOf(account: Address, grantId: Hex): MeteredGrant | undefined {
    return staying(store.grants, grantKey(account, grantId))
  }

  function accountOf(key: string): MeteredAccount | undefined {
    return staying(store.accounts, key)
  }

  /** What is there under a key; what is past its time is dropped. */
  function staying<kept extends MeteredGrant | MeteredAccount>(map: Map<string, kept>, key: string): kept | undefined {
    const found = map.get(key)
    if (found?.leavesAtMs === undefined || found.leavesAtMs > clock()) return found
    map.delete(key)
    return undefined
  }

  /** Looks at a few of all each time, so that what nobody asks for leaves too. */
  function forgetEnded() {
    for (const [map, kind] of [
      [store.grants, 'grants'],
      [store.accounts, 'accounts'],
    ] as const) {
      const keys = store.sweeps[kind] ?? map.keys()
      store.sweeps[kind] = keys
      for (let looked = 0; looked < lookedAtOnce; looked += 1) {
        const next = keys.next()
        if (next.done) {
          store.sweeps[kind] = undefined
          break
        }
        staying<MeteredGrant | MeteredAccount>(map, next.value)
      }
    }
  }

  /** Only the allowance is credit. */
  function addExposure({ source, token }: MeteredGrant, account: Address, payee: string, more: bigint) {
    if (source !== 'allowance') return
    for (const key of [`${accountKey(account, token)}:${payee}`, `${token}:${payee}`]) {
      const amount = (store.exposures.get(key) ?? 0n) + more
      if (amount === 0n) store.exposures.delete(key)
      else store.exposures.set(key, amount)
    }
  }

  /** Drops ids past their time. They expire in the order in which they came, so it looks at no more than it drops. */
  function forgetRequests() {
    const nowMs = clock()
    for (const [key, { expiresAtMs }] of store.requests) {
      if (expiresAtMs > nowMs) return
      store.requests.delete(key)
    }
  }

  function assertRoom(partition: number, queue: Map<string, QueuedEvent>) {
    if (queue.size >= maxQueuedEvents) {
      throw new MeterFullError({
        what: 'usage events wait for the journal',
        partition,
        max: maxQueuedEvents,
        hint: 'Check that the journal writer reaches Postgres, then repeat the request with the same id.',
      })
    }
    if (store.requests.size >= maxRequests) {
      throw new MeterFullError({
        what: 'request ids are remembered',
        partition,
        max: maxRequests,
        hint: 'Use Redis for this rate of requests, or repeat the request with the same id later.',
      })
    }
  }

  function queueOf(partition: number): Map<string, QueuedEvent> {
    const queue = store.queues[partition]
    if (!queue) throw new MeterUsageError('There is no such partition.', [`Partition: ${partition}`])
    return queue
  }

  function assertOpen() {
    if (closed) throw new MeterUnavailableError('The meter is closed.')
  }

  return {
    kind: 'embedded',
    charge: async (use) => charge(use),
    served(ticket) {
      const queued = queueOf(partitionOf(ticket.account)).get(ticket.eventId)
      if (queued) queued.open = false
    },
    capture: async (ticket, amount) => capture(ticket, amount),
    async adopt({ from, ...channelRequest }) {
      assertOpen()
      const key = requestKey(channelRequest)
      const request = store.requests.get(key)
      if (!request || request.instance !== from || store.instances.has(from)) return false
      store.requests.set(key, { ...request, instance })
      return true
    },
    holds: async (account, token) => accountOf(accountKey(account, token)) !== undefined,
    mirror: async (state) => mirror(state),
    async exposureOf(token, payee) {
      assertOpen()
      return store.exposures.get(`${token}:${payee}`.toLowerCase()) ?? 0n
    },
    async refuse(account, grantId) {
      assertOpen()
      const grant = grantOf(account, grantId)
      if (grant?.counters.status === 'active') grant.counters = { ...grant.counters, status: 'frozen' }
      return grant !== undefined
    },
    read: async (account, grantId) => read(account, grantId),
    readUsage: async (partition, limit) => readUsage(partition, limit),
    peekUsage: async (partition, after, limit) => peekUsage(partition, after, limit),
    async acknowledge(partition, eventIds) {
      assertOpen()
      const queue = queueOf(partition)
      for (const eventId of eventIds) queue.delete(eventId)
    },
    ownUsage: (eventId) => store.queues[Number(/^p(\d+)-/.exec(eventId)?.[1])]?.get(eventId)?.event,
    async ping() {
      assertOpen()
    },
    async close() {
      closed = true
      store.instances.delete(instance)
    },
  }
}

/** Grants and accounts that a mirror looks at to see whether they leave. */
const lookedAtOnce = 16

/** Of an event among all: its sequence number, the last part of its id. */
function positionOf(eventId: string): number {
  return Number(eventId.slice(eventId.lastIndexOf('-') + 1))
}

function grantKey(account: Address, grantId: Hex): string {
  return `${account}:${grantId}`.toLowerCase()
}

function accountKey(account: Address, token: string): string {
  return `${account}:${token}`.toLowerCase()
}

function requestKey({ grantId, payee, requestId }: Pick<Ticket, 'grantId' | 'payee' | 'requestId'>): string {
  return `${grantId.toLowerCase()}:${payee.toLowerCase()}:${requestId}`
}

/** What limits this use, and what was counted for each so far. */
function spendingOf({ limits, spent }: MeteredGrant, use: Use) {
  const payee = use.payee.toLowerCase()
  const ofPayee = limits?.payees.find((one) => one.payee.toLowerCase() === payee)?.limits
  const scopes = [
    { scope: 'service', key: `service:${use.event.service}`, limits: use },
    { scope: 'payee', key: `payee:${payee}`, limits: ofPayee },
    { scope: 'grant', key: 'grant', limits: limits?.all },
  ] as const
  return scopes.flatMap(({ limits: own, key, scope }) =>
    own && hasLimit(own) ? [{ scope, key, limits: own, spent: spent.get(key) ?? nothingSpent }] : [],
  )
}

function ticketOf(use: Use, amount: bigint, eventId: string): Ticket {
  const { account, grantId, payee, requestId } = use
  return { account, grantId, payee, requestId, amount, eventId }
}

function toChannelMeter({ authorized, charged, settled }: ChannelMeter): ChannelMeter {
  return { authorized, charged, settled }
}
