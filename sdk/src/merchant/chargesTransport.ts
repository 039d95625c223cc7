import { type ChargesOperation, type ChargesTransport, paymentSignatureHeader } from '@protocolbanks/stream-protocol'

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
