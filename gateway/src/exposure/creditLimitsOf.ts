import type { MerchantCredit } from '@protocolbanks/stream-db'
import type { CreditLimits } from '../meter/meter.ts'

/** What the operator lets one grant, and one account, owe to all payees on credit. Base units; undefined is no limit. */
export type OperatorCredit = { maxPerGrant?: bigint | undefined; maxPerAccount?: bigint | undefined }

/** What a charge of this merchant is held to; undefined when nobody limits it. */
export function creditLimitsOf(credit: MerchantCredit | undefined, operator: OperatorCredit): CreditLimits | undefined {
  const { maxPerGrant: maxPerGrantOverall, maxPerAccount: maxPerAccountOverall } = operator
  const { mode = 'credit', version = 0, maxTotal, maxPerAccount, maxPerGrant } = credit ?? {}
  const isLimited =
    mode !== 'credit' ||
    (maxTotal ?? maxPerAccount ?? maxPerGrant ?? maxPerGrantOverall ?? maxPerAccountOverall) !== undefined
  if (!isLimited) return undefined
  return { mode, version, maxTotal, maxPerAccount, maxPerGrant, maxPerGrantOverall, maxPerAccountOverall }
}
