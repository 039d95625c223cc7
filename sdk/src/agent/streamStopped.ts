import { BaseError } from '@protocolbanks/stream-protocol'

export type StopReason = keyof typeof stopWords

const stopWords = {
  malformed: 'It asked for a voucher in a way that cannot be read.',
  wrong_channel: 'It asked for a voucher of another grant or payee.',
  over_asked: 'It asked for more than the price that it announced.',
  asked_twice: 'It asked again for what it was paid.',
  not_served: 'It was paid for the next segment and sent nothing.',
  voucher_refused: 'It did not take the next voucher.',
  ended_by_service: 'The service ended it for want of payment.',
}

/** A metered stream ended before its time. What was delivered is paid; nothing more is signed for it. */
export class StreamStoppedError extends BaseError {
  override readonly code = 'stream.stopped'
  readonly reason: StopReason
  constructor(p: { url: string; reason: StopReason; details?: string[] | undefined }) {
    super(`The stream was stopped. ${stopWords[p.reason]}`, {
      metaMessages: [
        `URL: ${p.url}`,
        `Reason: ${p.reason}`,
        ...(p.details ?? []),
        'Call again to go on, if the service can be trusted.',
      ],
      docsPath: '/errors#stream-stopped',
    })
    this.reason = p.reason
  }
}

/** It asked for more than one segment further. */
export function overAsked(url: string, requiredAtomic: bigint, agreedAtomic: bigint): StreamStoppedError {
  const details = [`Asked: ${requiredAtomic} in total`, `Agreed: ${agreedAtomic}`]
  return new StreamStoppedError({ url, reason: 'over_asked', details })
}
