import { BaseError } from '@protocolbanks/stream-protocol'
import { readRpcFailure } from './readRpcFailure.ts'
import { SponsorshipRefusedError, SponsorUnavailableError } from './sponsorErrors.ts'

/**
 * Whatever a call to a paymaster service threw, as one of our errors. Our service explains a refusal in `error.data`
 * (`{ code, retryable }`); of another's only the text is known.
 */
export function toSponsorError(error: unknown): BaseError {
  if (error instanceof BaseError) return error
  const failure = readRpcFailure(error)
  const { detail, rpcCode, data } = failure
  if (!failure.answered) return new SponsorUnavailableError({ detail, cause: error })
  const { code, retryable } = readRefusal(data)
  return new SponsorshipRefusedError({ refusal: code, detail, retryable, rpcCode, cause: error })
}

function readRefusal(data: unknown): { code: string; retryable: boolean } {
  if (typeof data !== 'object' || data === null) return { code: 'sponsor.refused', retryable: false }
  const { code, retryable } = data as { code?: unknown; retryable?: unknown }
  return { code: typeof code === 'string' ? code.slice(0, 64) : 'sponsor.refused', retryable: retryable === true }
}
