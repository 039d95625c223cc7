import { BaseError } from '@protocolbanks/stream-protocol'

/** The paymaster service could not be asked. */
export class SponsorUnavailableError extends BaseError {
  override readonly code = 'sponsor.unavailable'
  override readonly retryable = true
  constructor({ detail, cause }: { detail: string; cause?: unknown }) {
    super('The paymaster service did not answer.', {
      cause,
      metaMessages: [
        `Paymaster: ${detail.slice(0, 500)}`,
        'Try again; if it lasts, check the address and that it runs.',
      ],
      docsPath: '/errors#sponsor-unavailable',
    })
  }
}

/** The paymaster service was asked and said no. `refusal` is its stable code, e.g. `sponsor.budget_exceeded`. */
export class SponsorshipRefusedError extends BaseError {
  override readonly code: string
  override readonly retryable: boolean
  readonly refusal: string
  readonly rpcCode: number | undefined

  constructor(params: {
    refusal: string
    detail: string
    retryable: boolean
    rpcCode: number | undefined
    cause?: unknown
  }) {
    const { refusal, detail, retryable, rpcCode, cause } = params
    super('The paymaster does not sponsor the UserOperation.', {
      cause,
      metaMessages: [`Rule: ${refusal}`, `Paymaster: ${detail.slice(0, 500)}`],
      docsPath: '/errors#sponsor',
    })
    this.code = refusal
    this.refusal = refusal
    this.retryable = retryable
    this.rpcCode = rpcCode
  }
}
