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
  find(id: string, merchantId: string): OpenTicket | undefined
  /** True: it was opened or given up before. */
  isUsed(id: string, merchantId: string): boolean
  /** @param ttlMs Its time from now; without end for 0, and that of a report when left out. */
  keep(id: string, ticket: OpenTicket, ttlMs?: number): void
  has(id: string): boolean
  /** It is over. */
  end(id: string): void
  /** Released before it was charged: the answer to the charge was given up before it was made. */
  cancel(id: string, merchantId: string): void
}

/** Charges in flight at merchants who ask from their own process. */
const maxOpenTickets = 100_000

/**
 * @param outcomeTimeoutMs A charge whose outcome nobody reported within this time is over; see `abandonCharge`.
 * @param maxOpen Beyond it the oldest is over.
 */
export function createOpenTickets(outcomeTimeoutMs: number, maxOpen = maxOpenTickets): OpenTickets {
  // In the order they were kept. A cache of the library clears all of its room whenever the last entry goes: at each call of a
  // merchant who is asked one at a time.
  const open = new Map<string, { ticket: OpenTicket; timer: NodeJS.Timeout | undefined }>()

  function drop(id: string): OpenTicket | undefined {
    const kept = open.get(id)
    clearTimeout(kept?.timer)
    open.delete(id)
    return kept?.ticket
  }

  function abandon(id: string): void {
    const ticket = drop(id)
    if (ticket) abandonCharge(ticket.charge, ticket.settling)
  }

  const cancelled = new LRUCache<string, true>({ max: maxOpen, ttl: outcomeTimeoutMs })

  return {
    find(id, merchantId) {
      const ticket = open.get(id)?.ticket
      return ticket?.merchantId === merchantId ? ticket : undefined
    },
    isUsed: (id, merchantId) => open.has(id) || cancelled.has(`${merchantId} ${id}`),
    keep(id, ticket, ttlMs = outcomeTimeoutMs) {
      drop(id)
      open.set(id, { ticket, timer: ttlMs === 0 ? undefined : setTimeout(() => abandon(id), ttlMs).unref() })
      if (open.size <= maxOpen) return
      const [oldest] = open.keys()
      if (oldest !== undefined) abandon(oldest)
    },
    has: (id) => open.has(id),
    end: (id) => void drop(id),
    cancel: (id, merchantId) => void cancelled.set(`${merchantId} ${id.slice(0, 64)}`, true),
  }
}
