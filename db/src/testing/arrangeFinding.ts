import type { Queryable } from '../createDb.ts'
import type { NewIncident } from '../sentinel/incidents.ts'
import { arrangeGrant, arrangeMerchant, randomHex } from './fixtures.ts'

/** A merchant, a grant that pays them, and what a sentinel finds of it. */
export async function arrangeFinding(db: Queryable, { now, ...change }: Partial<NewIncident> & { now: Date }) {
  const seller = await arrangeMerchant(db)
  const grant = await arrangeGrant(db, [seller.merchant])
  const finding: NewIncident = {
    grantId: grant.grantId,
    account: grant.account,
    rule: 'calls.per_minute',
    ruleVersion: 1,
    action: 'freeze',
    severity: 'critical',
    ruleId: null,
    payee: seller.merchant.payee,
    requestId: randomHex(12),
    chargedAt: now,
    inputs: {},
    explanation: 'It made 101 calls in a minute.',
    now,
    ...change,
  }
  return { seller, grant, finding }
}
