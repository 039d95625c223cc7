import { type Db, type Incident, openIncident } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'

/** The rule that is no rule: an owner asked. */
export const ownerAsked = 'owner.asked'

/**
 * Has the guardian freeze a grant on the chain because its owner wants it: an incident like any other, which the sentinel
 * brings to the chain. Asked again while it is open, it stays one.
 */
export async function askForChainFreeze(
  db: Db,
  { grantId, account, reason, now }: { grantId: Hex; account: Address; reason: string; now: Date },
): Promise<Incident> {
  const { incident } = await openIncident(db, {
    grantId,
    account,
    rule: ownerAsked,
    ruleVersion: 1,
    action: 'freeze',
    severity: 'info',
    ruleId: null,
    payee: null,
    requestId: null,
    chargedAt: null,
    inputs: { reason },
    explanation: `The owner asked for it: ${reason.replace(/\.$/, '')}.`,
    now,
  })
  return incident
}
