import { problem } from '../problem.ts'

/** What the charges API answers to a merchant's server, whatever carries it there. */
export type ChargesAnswer = {
  status: number
  /** Of a problem that of problems, else JSON's. */
  contentType: string
  /** JSON. */
  body: string
}

export function answerOf(value: Record<string, unknown>): ChargesAnswer {
  return { status: 200, contentType: 'application/json', body: JSON.stringify(value) }
}

export function invalid(detail: string): Promise<ChargesAnswer> {
  return problemAnswer(problem(400, 'request.invalid', 'The request is not valid.', { detail }))
}

export function unknownService(name: string): Promise<ChargesAnswer> {
  return problemAnswer(
    problem(404, 'service.unknown', 'You have no service of this name.', {
      detail: `Service: ${name}`,
      hint: 'Create it with POST /api/services.',
    }),
  )
}

export function unknownTicket(ticket: string): Promise<ChargesAnswer> {
  return problemAnswer(
    problem(404, 'ticket.unknown', 'No open charge has this ticket.', { detail: `Ticket: ${ticket.slice(0, 64)}` }),
  )
}

export function usedTicket(ticket: string): Promise<ChargesAnswer> {
  return problemAnswer(
    problem(409, 'ticket.used', 'This ticket was used or given up before.', { detail: `Ticket: ${ticket}` }),
  )
}

export function notSettled(ticket: string): Promise<ChargesAnswer> {
  return problemAnswer(
    problem(409, 'ticket.not_settled', 'This charge is not settled, so nothing may be served for it.', {
      detail: `Ticket: ${ticket}`,
      hint: 'Ask POST /api/charges/:ticket/settle before the answer leaves.',
    }),
  )
}

/** The gateway itself has answered the same request before, as the proxy of another service. */
export function answeredElsewhere(receipt: string): { code: string; response: Response } {
  const code = 'request.answered'
  const response = problem(409, code, 'This request was paid and answered before.', {
    hint: 'Pay anew to call again.',
    headers: { 'payment-response': receipt, 'cache-control': 'no-store' },
  })
  return { code, response }
}

/** A problem without headers of its own. */
export async function problemAnswer(response: Response): Promise<ChargesAnswer> {
  const contentType = response.headers.get('content-type') ?? ''
  return { status: response.status, contentType, body: await response.text() }
}
