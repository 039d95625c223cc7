import type { Address } from '@protocolbanks/stream-protocol'
import type { ExactRefusal } from '../payment/refusals.ts'
import type { SignedAuthorization } from './authorization.ts'

/** What has to be paid, by whatever signs. */
export type ExactTerms = { token: Address; payee: Address; amount: bigint }

/** What is left of an authorisation must be enough for a transaction: as the field's facilitators ask. */
export const settleMarginSeconds = 6n

/** What is wrong with an authorisation by itself; undefined when it pays the terms now. Says nothing of its signature. */
export function checkTerms(
  { token, to, value, validAfter, validBefore }: SignedAuthorization,
  terms: ExactTerms,
  nowMs: number,
): ExactRefusal | undefined {
  const now = BigInt(Math.floor(nowMs / 1_000))
  if (token !== terms.token) return 'payment.wrong_token'
  if (to !== terms.payee) return 'payment.wrong_payee'
  if (value !== terms.amount) return 'exact.wrong_amount'
  if (validBefore < now + settleMarginSeconds) return 'exact.expired'
  if (validAfter >= now) return 'exact.not_yet_valid'
  return undefined
}
