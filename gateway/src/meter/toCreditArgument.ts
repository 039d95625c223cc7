import type { CreditLimits } from './meter.ts'
import { clampAmount } from './transitions.ts'

/** What charge.lua reads of the limits of credit: empty without any, and its last part without one over all accounts. */
export function toCreditArgument(credit: CreditLimits | undefined): string {
  if (!credit) return ''
  const { mode, maxPerGrant, maxPerAccount, maxTotal, version, maxPerGrantOverall, maxPerAccountOverall } = credit
  const limits = [maxPerGrant, maxPerAccount, maxPerGrantOverall, maxPerAccountOverall]
  const texts = limits.map((limit) => (limit === undefined ? '' : clampAmount(limit).toString()))
  return [mode, ...texts, maxTotal === undefined ? '' : version].join(',')
}
