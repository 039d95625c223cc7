import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { inArray, sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import { merchantTable } from '../merchants/table.ts'
import { serviceTable } from '../services/table.ts'
import type { ChargeEvent } from './appendCharges.ts'

/** Whose a grant is. Never changes. */
export type GrantKeys = { grantId: Hex; account: Address; sessionKey: Address }

/** Grants that are known among these. */
export function listGrantKeys(db: Queryable, grantIds: readonly Hex[]): Promise<GrantKeys[]> {
  if (grantIds.length === 0) return Promise.resolve([])
  return db
    .select({ grantId: grantTable.grantId, account: grantTable.account, sessionKey: grantTable.sessionKey })
    .from(grantTable)
    .where(inArray(grantTable.grantId, [...grantIds]))
}

/** Whose a service is, and where they are paid. Never changes. */
export type ServiceOwner = { serviceId: string; merchantId: string; payee: Address }

/** Services that are known among these, disabled ones too. */
export function listServiceOwners(db: Queryable, serviceIds: readonly string[]): Promise<ServiceOwner[]> {
  if (serviceIds.length === 0) return Promise.resolve([])
  return db
    .select({ serviceId: serviceTable.id, merchantId: merchantTable.id, payee: merchantTable.payee })
    .from(serviceTable)
    .innerJoin(merchantTable, sql`${merchantTable.id} = ${serviceTable.merchantId}`)
    .where(inArray(serviceTable.id, [...serviceIds]))
}

/** What the journal has of the channels of these events, and of their requests. */
export type JournalFacts = {
  /** Event ids that are in the journal. */
  journalled: Set<string>
  /** By event id: the charge of the same request that is in the journal under another id. */
  duplicateOf: Map<string, string>
  /** By `channelKey`; a channel without a charge is not in it. */
  channels: Map<string, { charged: bigint; cumulativeAmount: bigint }>
}

export function channelKey({ grantId, payee }: { grantId: Hex; payee: Address }): string {
  return `${grantId}:${payee}`.toLowerCase()
}

/**
 * A request id may be used again after ten minutes, for another charge, with the same voucher too; both take the meter's clock
 * for it. A copy that comes later is held to the voucher like any charge.
 */
const requestUnique = '590 seconds'

export async function loadJournalFacts(
  db: Queryable,
  events: readonly Pick<ChargeEvent, 'eventId' | 'occurredAtMs' | 'grantId' | 'payee' | 'requestId'>[],
): Promise<JournalFacts> {
  const facts: JournalFacts = { journalled: new Set(), duplicateOf: new Map(), channels: new Map() }
  if (events.length === 0) return facts
  const texts = (pick: (event: (typeof events)[number]) => string) => sql`${sql.param(events.map(pick))}::text[]`
  const { rows } = await db.execute<{ event_id: string; other: string }>(sql`
    select k.event_id, c.event_id as other
    from unnest(
      ${texts(({ eventId }) => eventId)},
      ${sql.param(events.map(({ occurredAtMs }) => new Date(occurredAtMs).toISOString()))}::timestamptz[],
      ${texts(({ grantId }) => grantId.toLowerCase())},
      ${texts(({ payee }) => payee.toLowerCase())},
      ${texts(({ requestId }) => requestId)}
    ) as k (event_id, occurred_at, grant_id, payee, request_id)
    cross join lateral (
      -- Few charges have one request id; the fence keeps the planner from walking a channel or a week instead.
      select event_id, occurred_at, grant_id, payee from charge where request_id = k.request_id
      offset 0
    ) c
    where c.grant_id = k.grant_id and c.payee = k.payee
      and c.occurred_at > k.occurred_at - ${requestUnique}::interval and c.occurred_at < k.occurred_at + ${requestUnique}::interval`)
  for (const { event_id: eventId, other } of rows) {
    if (other === eventId) facts.journalled.add(eventId)
    else facts.duplicateOf.set(eventId, other)
  }
  const channels = new Map(events.map((event) => [channelKey(event), event]))
  const { rows: sums } = await db.execute<{ grant_id: Hex; payee: string; charged: string; cumulative: string }>(sql`
    select c.grant_id, c.payee, c.charged::text, c.cumulative_amount::text as cumulative
    from unnest(
      ${sql.param([...channels.values()].map(({ grantId }) => grantId.toLowerCase()))}::text[],
      ${sql.param([...channels.values()].map(({ payee }) => payee.toLowerCase()))}::text[]
    ) as k (grant_id, payee)
    join channel c on c.grant_id = k.grant_id and c.payee = k.payee`)
  for (const { grant_id: grantId, payee, charged, cumulative } of sums) {
    const key = channelKey({ grantId, payee: getAddress(payee) })
    facts.channels.set(key, { charged: BigInt(charged), cumulativeAmount: BigInt(cumulative) })
  }
  return facts
}

/** Of these events the ids that are in the journal. */
export async function findJournalled(
  db: Queryable,
  events: readonly { eventId: string; occurredAtMs: number }[],
): Promise<Set<string>> {
  if (events.length === 0) return new Set()
  const { rows } = await db.execute<{ event_id: string }>(sql`
    select k.event_id
    from unnest(
      ${sql.param(events.map(({ eventId }) => eventId))}::text[],
      ${sql.param(events.map(({ occurredAtMs }) => new Date(occurredAtMs).toISOString()))}::timestamptz[]
    ) as k (event_id, occurred_at)
    where exists (select 1 from charge c where c.occurred_at = k.occurred_at and c.event_id = k.event_id)`)
  return new Set(rows.map(({ event_id: eventId }) => eventId))
}
