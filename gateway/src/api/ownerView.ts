import type { AccountFunds, Channel, Charge, Grant, GrantControl, OwnerFreeze } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import { viewGrant } from './grantView.ts'

/** Sees what the operator sees of a grant. */
const asOwner = { merchantId: null, actor: 'owner' }

/** A grant as its owner sees it: everybody's freezes, without whose key set them, and their own. */
export function viewOwnerGrant(
  grant: Grant,
  of: { controls: readonly GrantControl[]; freezes: readonly OwnerFreeze[]; funds: AccountFunds | undefined },
  tokenDecimals: number,
) {
  const { controls, ...view } = viewGrant(grant, of, asOwner, tokenDecimals)
  const freeze = of.freezes.find(({ grantId }) => grantId === grant.grantId)
  return {
    ...view,
    controls: controls.map(({ by, holder, state, reason, createdAt }) => ({ by, holder, state, reason, createdAt })),
    ownerFreeze: freeze ? { reason: freeze.reason, createdAt: freeze.createdAt } : null,
  }
}

/** What one payee may have, has earned and was paid, as the journal and the chain's mirror say. */
export function viewOwnerChannel(channel: Channel, tokenDecimals: number) {
  const { payee, merchantId, cumulativeAmount: authorized, charged, settled, lastChargeAt } = channel
  const amounts = { authorized, charged, settled, outstanding: charged > settled ? charged - settled : 0n }
  return {
    payee,
    merchantId,
    ...Object.fromEntries(
      Object.entries(amounts).flatMap(([name, amount]) => [
        [name, formatAmount(amount, tokenDecimals)],
        [`${name}Atomic`, amount.toString()],
      ]),
    ),
    lastChargeAt,
  }
}

export function viewOwnerCharge(charge: Charge, tokenDecimals: number) {
  const { eventId, occurredAt, grantId, payee, merchantId, serviceId, requestId, amount, cumulativeAmount } = charge
  return {
    eventId,
    occurredAt,
    grantId,
    payee,
    merchantId,
    serviceId,
    requestId,
    amount: formatAmount(amount, tokenDecimals),
    amountAtomic: amount.toString(),
    cumulativeAmountAtomic: cumulativeAmount.toString(),
  }
}
