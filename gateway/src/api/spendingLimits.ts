import type { SpendingLimits } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import { maxMeterAmount } from '../meter/meter.ts'
import { amountSchema } from './schemas.ts'

/** The fields of `SpendingLimits` in requests: amounts as decimal strings of the token; null, or left out, is no limit. */
export function spendingLimitFields(tokenDecimals: number) {
  const amount = amountSchema(tokenDecimals, maxMeterAmount).nullish()
  const calls = (max: number) => z.int().min(1).max(max).nullish()
  return {
    maxAmountPerCall: amount,
    maxCallsPerMinute: calls(1_000_000),
    maxCallsPerHour: calls(60_000_000),
    maxCallsPerDay: calls(1_000_000_000),
    maxAmountPerMinute: amount,
    maxAmountPerHour: amount,
    maxAmountPerDay: amount,
  }
}

/** As answers show them: null is no limit, amounts in base units too. */
export function viewSpendingLimits(limits: SpendingLimits, tokenDecimals: number) {
  const decimal = (atomic: bigint | undefined) => (atomic === undefined ? null : formatAmount(atomic, tokenDecimals))
  return {
    maxAmountPerCall: decimal(limits.maxAmountPerCall),
    maxAmountPerCallAtomic: limits.maxAmountPerCall?.toString() ?? null,
    maxCallsPerMinute: limits.maxCallsPerMinute ?? null,
    maxCallsPerHour: limits.maxCallsPerHour ?? null,
    maxCallsPerDay: limits.maxCallsPerDay ?? null,
    maxAmountPerMinute: decimal(limits.maxAmountPerMinute),
    maxAmountPerMinuteAtomic: limits.maxAmountPerMinute?.toString() ?? null,
    maxAmountPerHour: decimal(limits.maxAmountPerHour),
    maxAmountPerHourAtomic: limits.maxAmountPerHour?.toString() ?? null,
    maxAmountPerDay: decimal(limits.maxAmountPerDay),
    maxAmountPerDayAtomic: limits.maxAmountPerDay?.toString() ?? null,
  }
}
