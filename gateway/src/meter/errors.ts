import { BaseError } from '@protocolbanks/stream-protocol'

/** The meter cannot say yes or no now. Nothing was charged, or what was charged is taken back when the store answers. */
export class MeterUnavailableError extends BaseError {
  override readonly code: string = 'meter.unavailable'
  override readonly retryable = true
  constructor(shortMessage: string, options: { cause?: unknown; metaMessages?: string[] } = {}) {
    super(shortMessage, { ...options, docsPath: '/errors#meter-unavailable' })
  }
}

/** A bound of the meter is reached: nothing is charged until the journal writer, or time, has made room. */
export class MeterFullError extends MeterUnavailableError {
  override readonly code = 'meter.full'
  constructor(p: { what: string; partition: number; max: number; hint: string }) {
    super('The meter is full.', { metaMessages: [`Partition ${p.partition}: ${p.max} ${p.what}.`, p.hint] })
  }
}

/** A call of the meter that can never succeed. A mistake of the caller. */
export class MeterUsageError extends BaseError {
  override readonly code = 'meter.usage'
  constructor(shortMessage: string, metaMessages: string[] = []) {
    super(shortMessage, { metaMessages })
  }
}
