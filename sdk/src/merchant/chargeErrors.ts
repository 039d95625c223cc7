import { BaseError } from '@protocolbanks/stream-protocol'

/** How often a release is tried. */
export const releaseTries = 3

/** The gateway answered what its API does not promise, e.g. because the API key is wrong. */
export class GatewayAnswerError extends BaseError {
  override readonly code = 'gateway.answer'
  readonly status: number
  constructor(p: { url: string; status: number; text: string }) {
    super('The gateway did not answer as its charges API promises.', {
      metaMessages: [
        `URL: ${p.url}`,
        `Status: ${p.status}`,
        `Body: ${p.text}`,
        p.status === 401 || p.status === 403 ? 'Check the API key and its merchant.' : 'Check gatewayUrl.',
      ],
      docsPath: '/errors#gateway-answer',
    })
    this.status = p.status
  }
}

/** A failed request was charged and the charge could not be taken back. */
export class ReleaseFailedError extends BaseError {
  override readonly code = 'charge.release_failed'
  constructor(ticket: string, cause: unknown) {
    super('A charge could not be released.', {
      cause,
      metaMessages: [
        `Ticket: ${ticket}`,
        `Tries: ${releaseTries}`,
        'Serve the request again free when it comes with the same id, or refund it.',
      ],
      docsPath: '/errors#charge-release-failed',
    })
  }
}
