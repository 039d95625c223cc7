/** What the charges API of a gateway is asked for: `charge` opens a ticket, the others are about one. */
export type ChargesOperation = 'charge' | 'capture' | 'extend' | 'settle' | 'served' | 'release'

/**
 * Carries one request to the charges API of a gateway, over a network or in the process, and its answer back whatever its
 * status is. Rejects when there is none, with a TimeoutError after `waitMs`: what was asked for may be done all the same.
 */
export type ChargesTransport = (
  operation: ChargesOperation,
  request: {
    ticket: string
    /** JSON. */
    body?: string | undefined
    waitMs: number
  },
) => Promise<{ status: number; text: string }>
