import { errorCodeOf } from '@protocolbanks/stream-db'
import { BaseError } from '@protocolbanks/stream-protocol'
import { problem } from '../problem.ts'
import { unavailableProblem } from '../unavailable.ts'

/** A refusal thrown from inside a transaction, so that it rolls back. */
export class ApiRefusal extends Error {
  readonly response: Response
  constructor(...args: Parameters<typeof problem>) {
    super(args[1])
    this.response = problem(...args)
  }
}

/** Errors of ours that are the caller's doing. */
const statuses: Record<string, number> = {
  'merchant.payee_taken': 409,
  'service.taken': 409,
  'service.managed': 409,
  'cursor.invalid': 400,
  'amount.invalid': 400,
  'terms.invalid': 400,
  'payees.invalid': 400,
}

/** The answer to an error of a route; undefined for one that nobody expected. */
export function apiProblem(error: unknown): Response | undefined {
  if (error instanceof ApiRefusal) return error.response
  const status = error instanceof BaseError ? statuses[error.code] : undefined
  if (error instanceof BaseError && status !== undefined) {
    return problem(status, error.code, error.shortMessage, { detail: error.metaMessages.join(' ') })
  }
  // Class 22: a value that Postgres cannot even read, for instance in a cursor that somebody made up.
  if (/^22/.test(errorCodeOf(error) ?? '')) {
    return problem(400, 'request.invalid', 'The request is not valid.', {
      hint: 'Pass ids and cursors unchanged, as they were answered.',
    })
  }
  return unavailableProblem(error)
}
