import {
  appendCharges,
  type ChargeEvent,
  channelKey,
  type Db,
  errorCodeOf,
  type GrantKeys,
  type JournalFacts,
  listGrantKeys,
  listServiceOwners,
  loadJournalFacts,
  quarantineUsage,
  type RefusedUsage,
  type ServiceOwner,
  type Tx,
  tryJournalLock,
  withJournalLock,
} from '@protocolbanks/stream-db'
import { type Hex, type Voucher, verifyVoucher } from '@protocolbanks/stream-protocol'
import { parseTraceparent } from '@protocolbanks/stream-runtime'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import { Counter, type Registry } from 'prom-client'
import type { MalformedUsage, UsageEvent } from '../meter/meter.ts'
import { judgeUsage } from './judgeUsage.ts'

/** Where usage becomes charges: each event is judged, and then appended or put aside, in one transaction. */
export type Journal = {
  /**
   * Events of one partition as its store brings them, at most 1,000. Undefined when another process is at this partition.
   * Afterwards every one of them is in the journal or in quarantine.
   */
  take(
    partition: number,
    events: readonly UsageEvent[],
    malformed?: readonly MalformedUsage[],
  ): Promise<Recorded | undefined>
  /** The same, but waits until no other is at the partition. */
  record(partition: number, events: readonly UsageEvent[], malformed?: readonly MalformedUsage[]): Promise<Recorded>
}

/** How many events were new in the journal, and how many were put aside. */
export type Recorded = { appended: number; quarantined: number }

export type JournalOptions = {
  db: Db
  clock(): number
  logger: Logger
  /** EIP-712 hash of a voucher in the domain of the module (`createVoucherHasher`). */
  hashVoucher(voucher: Voucher): Uint8Array
  /** What this process remembers of a charge that it made itself: it needs no proof. */
  ownUsage?: ((eventId: string) => UsageEvent | undefined) | undefined
  metrics?: Registry | undefined
  /** Told of events that are now in the journal, right before it is certain: for traces. */
  onJournalled?: ((events: readonly UsageEvent[]) => void) | undefined
}

const maxRemembered = 100_000

type Lock = (db: Db, partition: number, run: (tx: Tx) => Promise<Recorded>) => Promise<Recorded | undefined>

/**
 * @example
 * const journal = createJournal({ db, clock: Date.now, logger, hashVoucher: createVoucherHasher(chain) })
 * await journal.take(0, await meter.readUsage(0, 500))
 */
export function createJournal(options: JournalOptions): Journal {
  const { db, clock, logger, hashVoucher, ownUsage = () => undefined } = options
  const metrics = options.metrics && createMetrics(options.metrics)
  const grants = new LRUCache<Hex, GrantKeys>({ max: maxRemembered })
  const services = new LRUCache<string, ServiceOwner>({ max: maxRemembered })
  const publicKeys = new LRUCache<Hex, Uint8Array>({ max: maxRemembered })
  /** Of each channel the newest voucher that was verified: events often carry the same. */
  const verified = new LRUCache<string, { cumulativeAmount: bigint; signature: Hex }>({ max: maxRemembered })

  /** Whose partition of the journal is known to be there: otherwise each transaction would ask for it. */
  const months = new Set<string>()

  function isSigned(event: UsageEvent, grant: GrantKeys): boolean {
    const { grantId, payee, cumulativeAmount, record } = event
    const { signature } = record
    const key = channelKey(event)
    const newest = verified.get(key)
    if (newest?.cumulativeAmount === cumulativeAmount && newest.signature === signature) return true
    const voucher = { grantId, payee, cumulativeAmount, signature }
    const found = verifyVoucher(hashVoucher, voucher, grant.sessionKey, publicKeys.get(grantId))
    if (!found) return false
    publicKeys.set(grantId, found.publicKey)
    if (!newest || newest.cumulativeAmount <= cumulativeAmount) verified.set(key, { cumulativeAmount, signature })
    return true
  }

  /** Terms of grants and owners of services, from memory or, once for all that are missing, from Postgres. */
  async function lookUp(tx: Tx, events: readonly UsageEvent[]) {
    const missingGrants = new Set(events.map(({ grantId }) => grantId).filter((id) => !grants.has(id)))
    for (const grant of await listGrantKeys(tx, [...missingGrants])) grants.set(grant.grantId, grant)
    const missingServices = new Set(events.map(({ record }) => record.service).filter((id) => !services.has(id)))
    for (const service of await listServiceOwners(tx, [...missingServices])) services.set(service.serviceId, service)
    return { grants: toMap(grants, events, grantOf), services: toMap(services, events, serviceOf) }
  }

  async function judgeAndWrite(
    tx: Tx,
    events: readonly UsageEvent[],
    malformed: readonly MalformedUsage[],
    seenMonths: Set<string>,
  ): Promise<Recorded> {
    const known = await lookUp(
      tx,
      events.filter(({ eventId }) => !ownUsage(eventId)),
    )
    const journal: JournalFacts = await loadJournalFacts(tx, events)
    const { accepted, refused } = judgeUsage(events, { nowMs: clock(), ...known, journal, ownUsage, isSigned })
    const appended = await appendCharges(tx, accepted.map(toCharge), seenMonths)
    const aside = await quarantineUsage(tx, [...malformed.map(toRefused), ...refused])
    options.onJournalled?.(accepted)
    return report(appended, aside)
  }

  function report(appended: number, aside: readonly RefusedUsage[]): Recorded {
    for (const { eventId, reason, detail } of aside) {
      metrics?.quarantined.inc({ reason })
      logger.error({ event: eventId, reason, detail }, 'a usage event was put into quarantine')
    }
    metrics?.charges.inc(appended)
    return { appended, quarantined: aside.length }
  }

  /** Events that Postgres refuses for what they are go aside alone. */
  async function write(
    lock: Lock,
    partition: number,
    events: readonly UsageEvent[],
    malformed: readonly MalformedUsage[],
    isAgain = false,
  ): Promise<Recorded | undefined> {
    const seenMonths = new Set(months)
    try {
      const recorded = await lock(db, partition, (tx) => judgeAndWrite(tx, events, malformed, seenMonths))
      for (const month of seenMonths) months.add(month)
      return recorded
    } catch (error) {
      // 23514 may be a partition that somebody removed: the next try makes it again.
      if (errorCodeOf(error) === '23514' && !isAgain) {
        months.clear()
        return write(lock, partition, events, malformed, true)
      }
      // Classes 22 and 23: the data. Anything else is not the fault of one event.
      const code = errorCodeOf(error) ?? ''
      if (!/^2[23]/.test(code) || events.length === 0) throw error
      const [event] = events
      if (events.length === 1 && event) {
        const detail = `Postgres answered ${code}: ${reasonOf(error)}`
        const refused: RefusedUsage = { ...toRefused(asMalformed(event, detail)), reason: 'rejected' }
        return lock(db, partition, async (tx) =>
          report(0, await quarantineUsage(tx, [...malformed.map(toRefused), refused])),
        )
      }
      const middle = Math.ceil(events.length / 2)
      const first = await write(lock, partition, events.slice(0, middle), malformed)
      const second = first && (await write(lock, partition, events.slice(middle), []))
      return (
        second && {
          appended: first.appended + second.appended,
          quarantined: first.quarantined + second.quarantined,
        }
      )
    }
  }

  return {
    take: (partition, events, malformed = []) => write(tryJournalLock, partition, events, malformed),
    async record(partition, events, malformed = []) {
      const recorded = await write(withJournalLock, partition, events, malformed)
      if (!recorded) throw new Error('The lock of the journal was not waited for.')
      return recorded
    },
  }
}

/** Field by field: copying an object with a rest makes a slow one, and this is done for every paid call. */
function toCharge(event: UsageEvent): ChargeEvent {
  const { record } = event
  return {
    eventId: event.eventId,
    occurredAtMs: event.occurredAtMs,
    account: event.account,
    grantId: event.grantId,
    payee: event.payee,
    merchantId: record.merchant,
    serviceId: record.service,
    requestId: event.requestId,
    fingerprint: event.fingerprint,
    amount: event.amount,
    cumulativeAmount: event.cumulativeAmount,
    signature: record.signature,
    traceId: parseTraceparent(record.trace)?.traceId,
    client: record.client,
  }
}

function toRefused({ eventId, detail, entry }: MalformedUsage): RefusedUsage {
  return { eventId, reason: 'malformed', detail, event: entry }
}

function asMalformed({ amount, cumulativeAmount, ...event }: UsageEvent, detail: string): MalformedUsage {
  const entry = { ...event, amount: amount.toString(), cumulativeAmount: cumulativeAmount.toString() }
  return { eventId: event.eventId, detail, entry }
}

const grantOf = ({ grantId }: UsageEvent) => grantId
const serviceOf = ({ record }: UsageEvent) => record.service

function toMap<key extends string, value extends object>(
  cache: LRUCache<key, value>,
  events: readonly UsageEvent[],
  keyOf: (event: UsageEvent) => key,
): Map<key, value> {
  const map = new Map<key, value>()
  for (const event of events) {
    const found = cache.get(keyOf(event))
    if (found) map.set(keyOf(event), found)
  }
  return map
}

/** What the driver says, wherever in the chain of causes it is. */
function reasonOf(error: unknown): string {
  let current = error
  for (let depth = 0; depth < 8 && current instanceof Error && current.cause instanceof Error; depth++) {
    current = current.cause
  }
  return current instanceof Error ? current.message : String(current)
}

function createMetrics(registry: Registry) {
  return {
    charges: new Counter({
      name: 'gateway_journal_charges_total',
      help: 'Charges that this process appended to the journal.',
      registers: [registry],
    }),
    quarantined: new Counter({
      name: 'gateway_usage_quarantined_total',
      help: 'Usage events that this process put into quarantine instead of the journal, by reason.',
      labelNames: ['reason'],
      registers: [registry],
    }),
  }
}
