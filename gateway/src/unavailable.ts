import { isDatabaseUnavailable } from '@protocolbanks/stream-db'
import { MeterUnavailableError } from './meter/errors.ts'
import { problem } from './problem.ts'

const hint = 'Repeat the request with the same id: it is not charged twice.'
const headers = { 'retry-after': '1', 'cache-control': 'no-store' }

/** 503 for an error that says a dependency is gone; undefined for any other. */
export function unavailableProblem(error: unknown): Response | undefined {
  if (error instanceof MeterUnavailableError) {
    return problem(503, error.code, 'Paid calls cannot be metered at the moment.', { hint, headers })
  }
  if (isDatabaseUnavailable(error)) {
    return problem(503, 'database.unavailable', 'The database cannot be reached at the moment.', { hint, headers })
  }
  return undefined
}
