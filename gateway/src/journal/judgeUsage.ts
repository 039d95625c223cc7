import {
  channelKey,
  type GrantKeys,
  type JournalFacts,
  type QuarantineReason,
  type RefusedUsage,
  type ServiceOwner,
} from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import type { UsageEvent } from '../meter/meter.ts'

/** What is known of usage events from elsewhere than the events. */
export type UsageKnowledge = {
  nowMs: number
  grants: ReadonlyMap<Hex, GrantKeys>
  services: ReadonlyMap<string, ServiceOwner>
  journal: JournalFacts
  /** What this process remembers of a charge that it made itself. */
  ownUsage(eventId: string): UsageEvent | undefined
  /** Whether the session key signed the voucher that the event carries, for its payee. */
  isSigned(event: UsageEvent, grant: GrantKeys): boolean
}

export type UsageJudgement = {
  /** To be appended, in order. */
  accepted: UsageEvent[]
  refused: RefusedUsage[]
  /** In the journal already: read again after a crash, or by two writers. */
  known: UsageEvent[]
}

/** The meter's clock may be ahead of ours by this. */
export const maxAheadMs = 3_600_000
/** Usage waits for the journal while Postgres is gone; longer than this nobody leaves it so. */
export const maxAgeMs = 30 * 86_400_000

/**
 * Which usage events may become charges. The meter's store is not trusted: an event has to be of a known grant and account,
 * at a service of that merchant and payee, once per request, with a voucher that its session key signed and that covers
 * everything charged. What this process charged itself is taken as it remembers it, whatever the store says.
 */
export function judgeUsage(events: readonly UsageEvent[], knowledge: UsageKnowledge): UsageJudgement {
  const { journal } = knowledge
  const judgement: UsageJudgement = { accepted: [], refused: [], known: [] }
  const channels = new Map(journal.channels)
  const requests = new Map<string, string>()
  const ids = new Set<string>()

  for (const read of events) {
    if (ids.has(read.eventId)) continue
    ids.add(read.eventId)
    const own = knowledge.ownUsage(read.eventId)
    const event = own ?? read
    // The meter gives back what it remembers when it finds that unchanged.
    if (own && own !== read && !isSame(own, read))
      judgement.refused.push(refusedAs(alteredOf(read), 'altered', 'It was charged otherwise.'))
    if (journal.journalled.has(event.eventId)) {
      judgement.known.push(event)
      continue
    }
    const key = channelKey(event)
    const requestAt = `${key}:${event.requestId}`
    const first = requests.get(requestAt) ?? journal.duplicateOf.get(event.eventId)
    const refusal =
      (own ? undefined : identityRefusal(event, knowledge)) ??
      (first === undefined ? undefined : refuse('duplicate', `Request ${event.requestId} was charged as ${first}.`))
    if (refusal) {
      judgement.refused.push(refusedAs(event, refusal.reason, refusal.detail))
      continue
    }
    const before = channels.get(key) ?? { charged: 0n, cumulativeAmount: 0n }
    const charged = before.charged + event.amount
    const cumulativeAmount =
      event.cumulativeAmount > before.cumulativeAmount ? event.cumulativeAmount : before.cumulativeAmount
    if (charged > cumulativeAmount) {
      const detail = `Charged ${charged} with it; the newest voucher allows ${cumulativeAmount}.`
      judgement.refused.push(refusedAs(event, 'voucher_exceeded', detail))
      continue
    }
    channels.set(key, { charged, cumulativeAmount })
    requests.set(requestAt, event.eventId)
    judgement.accepted.push(event)
  }
  return judgement
}

type Refusal = { reason: QuarantineReason; detail: string }

/** Who and when, of an event that another process is said to have charged. */
function identityRefusal(event: UsageEvent, knowledge: UsageKnowledge): Refusal | undefined {
  const { nowMs, grants, services } = knowledge
  const aheadMs = event.occurredAtMs - nowMs
  if (aheadMs > maxAheadMs) return refuse('future', `It is ${Math.round(aheadMs / 1000)} s ahead of the clock.`)
  if (-aheadMs > maxAgeMs) return refuse('stale', `It is ${Math.round(-aheadMs / 86_400_000)} days old.`)
  const grant = grants.get(event.grantId)
  if (!grant) return refuse('grant_unknown', `Grant: ${event.grantId}`)
  if (!isSameHex(grant.account, event.account)) {
    return refuse('account_mismatch', `The grant is of ${grant.account}, not ${event.account}.`)
  }
  const service = services.get(event.record.service)
  if (!service) return refuse('service_unknown', `Service: ${event.record.service}`)
  if (service.merchantId !== event.record.merchant) {
    return refuse('merchant_mismatch', `The service is of ${service.merchantId}, not ${event.record.merchant}.`)
  }
  if (!isSameHex(service.payee, event.payee)) {
    return refuse('payee_mismatch', `The merchant is paid at ${service.payee}, not ${event.payee}.`)
  }
  if (!knowledge.isSigned(event, grant)) {
    return refuse('signature_invalid', `The voucher over ${event.cumulativeAmount} is not of ${grant.sessionKey}.`)
  }
  return undefined
}

function refuse(reason: QuarantineReason, detail: string): Refusal {
  return { reason, detail }
}

function refusedAs(event: UsageEvent, reason: QuarantineReason, detail: string): RefusedUsage {
  const { amount, cumulativeAmount, ...rest } = event
  const json = { ...rest, amount: amount.toString(), cumulativeAmount: cumulativeAmount.toString() }
  return { eventId: event.eventId, reason, detail, event: json }
}

/** The true event keeps its id in the journal, so the other is put aside under one of its own. */
function alteredOf(event: UsageEvent): UsageEvent {
  return { ...event, eventId: `${event.eventId}:altered` }
}

/** The parts that decide who owes what to whom. */
function isSame(own: UsageEvent, read: UsageEvent): boolean {
  return (
    own.grantId === read.grantId &&
    own.payee === read.payee &&
    own.account === read.account &&
    own.amount === read.amount &&
    own.requestId === read.requestId &&
    own.record.service === read.record.service &&
    own.record.merchant === read.record.merchant
  )
}

function isSameHex(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase()
}
