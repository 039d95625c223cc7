import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { eq, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { collectible } from '../settlements/collectible.ts'
import { appendSentinelEvent } from './sentinelEvents.ts'
import { sentinelBreakerTable, sentinelIncidentTable, sentinelStopTable } from './table.ts'
import { findVoucherPolicy, type VoucherPolicy } from './voucherPolicies.ts'

/** What the operator wants done with vouchers that were accepted before a stop, where the owner says nothing. */
export type VoucherDefault = {
  policy: VoucherPolicy
  /** settle: how long the freeze on the chain waits at most. */
  settleFirstMs: number
}

export type NewStop = {
  incidentId: string
  grantId: Hex
  account: Address
  kind: 'freeze' | 'revoke'
  /** When what was found began: what happened before a grant went on again does not stop it anew. */
  foundFrom: Date
  vouchers: VoucherDefault
  now: Date
}

/**
 * Opens the breaker of a grant, with the stop that goes with it. A grant that is stopped already is frozen no second time,
 * and one that is revoked needs nothing. The incident says what was accepted and not settled, and what is done with it.
 *
 * @returns whether there is something new to do
 */
export async function openStop(tx: Queryable, stop: NewStop): Promise<boolean> {
  const { incidentId, grantId, account, kind, foundFrom, vouchers, now } = stop
  await tx
    .insert(sentinelBreakerTable)
    .values({ grantId, account, state: 'closed', since: now, incidentId, updatedAt: now })
    .onConflictDoNothing()
  const [breaker] = await tx
    .select()
    .from(sentinelBreakerTable)
    .where(eq(sentinelBreakerTable.grantId, grantId))
    .for('update')
  if (!breaker) throw new Error(`The grant ${grantId} has no breaker right after it was given one.`)
  const policy = (await findVoucherPolicy(tx, { account, grantId })) ?? vouchers.policy
  const accepted = await acceptedOf(tx, grantId)
  await tx
    .update(sentinelIncidentTable)
    .set({ voucherPolicy: policy, accepted })
    .where(eq(sentinelIncidentTable.id, incidentId))
  if (!asksForMore(breaker, { kind, foundFrom })) return false

  // Whatever the journal knows so far: what was just charged is on its way there.
  const settleUntil = policy === 'settle' ? new Date(now.getTime() + vouchers.settleFirstMs) : null
  const opened = await tx
    .insert(sentinelStopTable)
    .values({
      id: newId('stp'),
      incidentId,
      grantId,
      account,
      kind,
      settleUntil,
      chainState: 'due',
      createdAt: now,
      updatedAt: now,
    })
    .onConflictDoNothing()
    .returning({ id: sentinelStopTable.id })
  if (opened.length === 0) return false
  const since = breaker.state === 'open' ? breaker.since : now
  await tx
    .update(sentinelBreakerTable)
    .set({ state: 'open', since, incidentId, liftedAt: null, updatedAt: now })
    .where(eq(sentinelBreakerTable.grantId, grantId))
  if (breaker.state === 'half_open')
    await appendSentinelEvent(tx, { kind: 'reopened', account, grantId, detail: { incidentId } })
  if (settleUntil) await requestStoppedSettlement(tx, grantId)
  return true
}

function asksForMore(
  { state, since }: { state: 'closed' | 'open' | 'half_open' | 'revoked'; since: Date },
  { kind, foundFrom }: Pick<NewStop, 'kind' | 'foundFrom'>,
): boolean {
  switch (state) {
    case 'closed':
      return true
    case 'half_open':
      return foundFrom >= since || kind === 'revoke'
    case 'open':
      return kind === 'revoke'
    case 'revoked':
      return false
  }
}

/** Base units that the grant's payees may still collect. */
export async function acceptedOf(db: Queryable, grantId: Hex): Promise<bigint> {
  const { rows } = await db.execute<{ accepted: string }>(sql`
    select coalesce(sum(greatest(${collectible} - c.settled, 0)), 0) as accepted
    from channel c where c.grant_id = ${grantId.toLowerCase()} and c.signature is not null`)
  return BigInt(rows[0]?.accepted ?? 0)
}

/**
 * Incidents of grants that were stopped since `since` say what the journal knows by now to be accepted and not settled:
 * what was charged last reaches it after the grant was stopped.
 */
export async function refreshAccepted(db: Queryable, since: Date): Promise<void> {
  await db.execute(sql`
    update sentinel_incident i set accepted = now.accepted
    from sentinel_breaker b cross join lateral (
      select coalesce(sum(greatest(${collectible} - c.settled, 0)), 0) as accepted
      from channel c where c.grant_id = b.grant_id and c.signature is not null
    ) now
    where b.state = 'open' and b.since > ${since.toISOString()}::timestamptz and i.id = b.incident_id
      and i.accepted <> now.accepted`)
}

/** Before it is frozen on the chain. Nothing where it is asked for already, is under way, or owes nothing. */
export async function requestStoppedSettlement(db: Queryable, grantId: Hex): Promise<void> {
  await db.execute(sql`
    insert into settlement_request (id, grant_id, merchant_id, actor)
    select ${newId('srq')}, ${grantId.toLowerCase()}, null, 'sentinel'
    where exists (
      select from channel c where c.grant_id = ${grantId.toLowerCase()} and ${collectible} > c.settled
        and c.signature is not null)
    on conflict (grant_id, merchant_id) where settlement_id is null do nothing`)
}
