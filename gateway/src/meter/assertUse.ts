import { MeterUsageError } from './errors.ts'
import { maxMeterAmount, type Use } from './meter.ts'

const maxTextLength = 512

/** @throws MeterUsageError when no meter could ever charge this. */
export function assertUse(use: Use): void {
  if (use.amount < 0n || use.amount > maxMeterAmount) {
    throw new MeterUsageError('The amount of a charge is out of bounds.', [
      `Amount: ${use.amount}`,
      `It must be between 0 and ${maxMeterAmount}.`,
    ])
  }
  if (use.cumulativeAmount < 0n) {
    throw new MeterUsageError('The cumulative amount is negative.', [`Cumulative amount: ${use.cumulativeAmount}`])
  }
  if (!Number.isSafeInteger(use.nowMs) || use.nowMs < 0) {
    throw new MeterUsageError('The time of a charge is not whole milliseconds since 1970.', [`Now: ${use.nowMs}`])
  }
  for (const name of ['requestId', 'fingerprint'] as const) {
    const { length } = use[name]
    if (length === 0 || length > maxTextLength) {
      throw new MeterUsageError(`The ${name} is empty or too long.`, [`Length: ${length}, at most ${maxTextLength}`])
    }
  }
}
