import { mppIntent, mppMethod } from './chargeRequest.ts'

/** Ranges that are looked at; nobody knows more methods. */
const maxRanges = 32

/**
 * Whether a client that sends this `Accept-Payment` wants to be offered `evm/charge`. Only a client that says it does not,
 * by `q=0` in the range that fits best, is offered none: there is no other challenge that it could like better
 * (draft-httpauth-payment-02, "Client Payment Preferences").
 */
export function acceptsCharge(header: string | undefined): boolean {
  if (header === undefined) return true
  let best = { specificity: -1, isWanted: true }
  for (const range of header.split(',', maxRanges)) {
    const [, method, intent, q = '1'] = /^\s*([^/;\s]+)\/([^/;\s]+)\s*(?:;\s*q=([\d.]+)\s*)?$/.exec(range) ?? []
    if (method !== mppMethod && method !== '*') continue
    if (intent !== mppIntent && intent !== '*') continue
    const specificity = Number(method !== '*') + Number(intent !== '*')
    if (specificity > best.specificity) best = { specificity, isWanted: Number(q) > 0 }
    else if (specificity === best.specificity) best.isWanted ||= Number(q) > 0
  }
  return best.isWanted
}
