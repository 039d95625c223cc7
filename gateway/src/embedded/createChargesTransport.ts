import type { ChargesOperation, ChargesTransport } from '@protocolbanks/stream-protocol'
import type { ChargesOperations } from '../payment/chargesOperations.ts'
import { unavailableProblem } from '../unavailable.ts'

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
