import { paymentSignatureHeader } from '@protocolbanks/stream-protocol'

/** What the charges API is asked for: `charge` opens a ticket, the others are about one. */
export type ChargesOperation = 'charge' | 'capture' | 'extend' | 'settle' | 'served' | 'release'

/**
 * Carries one request to the charges API of a gateway, and its answer back whatever its status is. Rejects when there is none,
 * with a TimeoutError after `waitMs`: what was asked for may be done all the same.
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

export type FetchTransportOptions = {
  /** Of the charges API. */
  chargesUrl: string
  apiKey: string
  fetch: typeof fetch
}

/** Over HTTP, to a gateway elsewhere. */
export function createFetchTransport({ chargesUrl, apiKey, fetch }: FetchTransportOptions): ChargesTransport {
  return async (operation, { ticket, body, waitMs }) => {
    const headers: Record<string, string> = {
      authorization: `Bearer ${apiKey}`,
      // One gateway of several knows the ticket: a load balancer keeps together what says the same here.
      [paymentSignatureHeader]: ticket,
    }
    if (body !== undefined) headers['content-type'] = 'application/json'
    const late = new AbortController()
    // Not AbortSignal.timeout: that one fires, and makes an error, long after the answer has come.
    const timer = setTimeout(() => {
      late.abort(new DOMException(`The gateway did not answer within ${waitMs} ms.`, 'TimeoutError'))
    }, waitMs)
    try {
      const response = await fetch(chargesUrlOf(chargesUrl, operation, ticket), {
        method: 'POST',
        headers,
        redirect: 'error',
        signal: late.signal,
        ...(body !== undefined && { body }),
      })
      return { status: response.status, text: await response.text() }
    } catch (error) {
      throw late.signal.aborted ? late.signal.reason : error
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Where an operation of the charges API is. */
export function chargesUrlOf(chargesUrl: string, operation: ChargesOperation, ticket: string): string {
  return operation === 'charge' ? chargesUrl : `${chargesUrl}/${encodeURIComponent(ticket)}/${operation}`
}
