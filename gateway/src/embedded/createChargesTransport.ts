import type { ChargesOperation, ChargesOperations } from '../payment/chargesOperations.ts'
import { unavailableProblem } from '../unavailable.ts'

/** What of the SDK carries a request to the charges API: here a call in the process. */
export type ChargesTransport = (
  operation: ChargesOperation,
  request: {
    ticket: string
    /** JSON. */
    body?: string | undefined
    /** It is given up after so long. */
    waitMs: number
  },
) => Promise<{ status: number; text: string }>

export type ChargesTransportOptions = {
  operations: ChargesOperations
  merchantId: string
  /** Told what nobody expected; its request is answered 500. */
  onError(error: unknown): void
}

/**
 * The charges API without a network: what it answers is what a gateway elsewhere answers, 503 while the meter or Postgres is away.
 * Rejects with a TimeoutError when its time is up; what it asked for may be done all the same.
 */
export function createChargesTransport({ operations, merchantId, onError }: ChargesTransportOptions): ChargesTransport {
  async function answer(
    operation: ChargesOperation,
    ticket: string,
    body: string | undefined,
  ): Promise<{ status: number; text: string }> {
    try {
      const answered = await operations[operation]({ merchantId, ticket, body })
      return { status: answered.status, text: answered.body }
    } catch (error) {
      const unavailable = unavailableProblem(error)
      if (unavailable) return { status: unavailable.status, text: await unavailable.text() }
      onError(error)
      return { status: 500, text: '' }
    }
  }

  return (operation, { ticket, body, waitMs }) =>
    new Promise((resolve, reject) => {
      const late = () => reject(new DOMException(`${operation}: no answer within ${waitMs} ms.`, 'TimeoutError'))
      const timer = setTimeout(late, waitMs)
      answer(operation, ticket, body)
        .finally(() => clearTimeout(timer))
        .then(resolve, reject)
    })
}
