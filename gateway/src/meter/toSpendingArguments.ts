import type { GrantState, SpendingLimits } from './meter.ts'
import { clampAmount } from './transitions.ts'

/** Whether anything is limited at all: what is not is not counted. */
export function hasLimit(limits: SpendingLimits): boolean {
  return (
    limits.maxAmountPerCall !== undefined ||
    limits.maxCallsPerMinute !== undefined ||
    limits.maxAmountPerMinute !== undefined ||
    limits.maxCallsPerHour !== undefined ||
    limits.maxAmountPerHour !== undefined ||
    limits.maxCallsPerDay !== undefined ||
    limits.maxAmountPerDay !== undefined
  )
}

/** What charge.lua reads of a service's limits: of one call, and of the windows; empty without any. */
export function toSpendingArguments(limits: SpendingLimits): [maxAmountPerCall: string, windows: string] {
  if (!hasLimit(limits)) return ['', '']
  const windows = [
    limits.maxCallsPerMinute,
    limits.maxAmountPerMinute,
    limits.maxCallsPerHour,
    limits.maxAmountPerHour,
    limits.maxCallsPerDay,
    limits.maxAmountPerDay,
  ]
  return [toText(limits.maxAmountPerCall), windows.map(toText).join(',')]
}

/** What mirror.lua stores of a grant's limits, as charge.lua reads them: of one call first, then of the windows. */
export function toLimitFields(limits: GrantState['limits']): { limits: string; payeeLimits: Record<string, string> } {
  const entries = limits?.payees.filter(({ limits: own }) => hasLimit(own)) ?? []
  return {
    limits: limits?.all && hasLimit(limits.all) ? toSpendingArguments(limits.all).join(',') : '',
    payeeLimits: Object.fromEntries(
      entries.map(({ payee, limits: own }) => [payee.toLowerCase(), toSpendingArguments(own).join(',')]),
    ),
  }
}

function toText(limit: bigint | number | undefined): string {
  if (limit === undefined) return ''
  return typeof limit === 'bigint' ? clampAmount(limit).toString() : `${limit}`
}
