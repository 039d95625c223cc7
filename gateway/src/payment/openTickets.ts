import { LRUCache } from 'lru-cache'
import type { EndedCall } from '../tracing/logCall.ts'
import type { CaptureOutcome, ServedCharge } from './servedCharge.ts'
import { abandonCharge, type TicketSettled } from './settleTicket.ts'

/** A charge that a merchant's own server is serving. */
export type OpenTicket = {
  merchantId: string
  charge: ServedCharge
  call: EndedCall
  /** What the call was offered for, or one segment of it; base units. */
  amount: bigint
  /** It costs what it used; otherwise its price is fixed. */
  isByUse: boolean
  captured?: Promise<CaptureOutcome>
  settling?: Promise<TicketSettled>
  /** Segments are charged one after the other. */
  extending?: Promise<unknown>
}

export type OpenTickets = {
  /** The merchant's own alone. */
  find(ticket: string, merchantId: string): OpenTicket | undefined
  /** True: it was opened or given up before. */
  isUsed(ticket: string, merchantId: string): boolean
  /** @param ttlMs Its time from now; without end for 0, and that of a report when left out. */
  keep(ticket: string, entry: OpenTicket, ttlMs?: number): void
  has(ticket: string): boolean
  /** It is over. */
  end(ticket: string): void
  /** Released before it was charged: the answer to the charge was given up before it was made. */
  cancel(ticket: string, merchantId: string): void
}

/** Charges in flight at merchants who ask from their own process. */
const maxOpenTickets = 100_000

/** @param outcomeTimeoutMs A charge whose outcome nobody reported within this time is over; see `abandonCharge`. */
export function createOpenTickets(outcomeTimeoutMs: number): OpenTickets {
  const open = new LRUCache<string, OpenTicket>({
    max: maxOpenTickets,
    ttl: outcomeTimeoutMs,
    ttlAutopurge: true,
    dispose({ charge, settling }, _, reason) {
      if (reason === 'expire' || reason === 'evict') abandonCharge(charge, settling)
    },
  })
  const cancelled = new LRUCache<string, true>({ max: maxOpenTickets, ttl: outcomeTimeoutMs })

  return {
    find(ticket, merchantId) {
      const entry = open.get(ticket)
      return entry?.merchantId === merchantId ? entry : undefined
    },
    isUsed: (ticket, merchantId) => open.has(ticket) || cancelled.has(`${merchantId} ${ticket}`),
    keep: (ticket, entry, ttlMs = outcomeTimeoutMs) => void open.set(ticket, entry, { ttl: ttlMs }),
    has: (ticket) => open.has(ticket),
    end: (ticket) => void open.delete(ticket),
    cancel: (ticket, merchantId) => void cancelled.set(`${merchantId} ${ticket.slice(0, 64)}`, true),
  }
}
