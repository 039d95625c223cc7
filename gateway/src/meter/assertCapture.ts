import { MeterUsageError } from './errors.ts'
import type { Ticket } from './meter.ts'

/** @throws MeterUsageError when more would be captured than was charged, or less than nothing. */
export function assertCapture(ticket: Ticket, amount: bigint): void {
  if (amount >= 0n && amount <= ticket.amount) return
  throw new MeterUsageError('The captured amount is out of bounds.', [
    `Captured: ${amount}`,
    `It must be between 0 and the charged ${ticket.amount}.`,
  ])
}
