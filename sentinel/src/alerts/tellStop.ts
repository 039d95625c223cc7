import type { AlertFacts } from '@protocolbanks/stream-db'
import type { AlertAudience } from './alertText.ts'

/** What becomes of vouchers that were accepted before a stop, by the owner's policy. */
export function tellVouchers({ incident, stop }: AlertFacts): string {
  if (!stop) return ''
  return incident.voucherPolicy === 'settle'
    ? 'What was accepted before is settled first.'
    : 'What was accepted before and is not settled waits for the decision of the owner.'
}

/** What was done about an incident so far, and whether the chain has it. */
export function tellStop({ incident, stop, ruleMerchantId }: AlertFacts, audience: AlertAudience): string {
  if (!stop && incident.action === 'alert') return ''
  if (!stop && ruleMerchantId !== null)
    return 'A merchant refuses its calls, by a rule of their own. Elsewhere and on the chain nothing was changed.'
  if (!stop && incident.action === 'block')
    return 'The gateways refuse its calls for a while. On the chain nothing was changed.'
  if (!stop) return 'It was being stopped already when this was found.'
  const done = stop.kind === 'revoke' ? 'revoked' : 'frozen'
  const gateways = stop.refusedAt
    ? 'Every gateway refuses its calls.'
    : 'The gateways are being told to refuse its calls.'
  switch (stop.chainState) {
    case 'confirmed': {
      const where = stop.txHash ? ` (block ${stop.blockNumber}, transaction ${stop.txHash})` : ''
      return `${gateways} On the chain it is ${done}${where}.`
    }
    case 'impossible': {
      const why = audience === 'merchant' || !stop.errorCode ? '' : `: ${stop.errorCode}`
      return `${gateways} On the chain it could not be ${done}${why}. The owner can do that.`
    }
    default:
      return `${gateways} On the chain it is not ${done} yet; the guardian is at it.`
  }
}
