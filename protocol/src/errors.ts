type BaseErrorOptions = {
  cause?: unknown
  /** One line a value: what happened with which values, and what to do next. Never a secret. */
  metaMessages?: string[]
  /** Where the docs explain this code, e.g. `/errors#grant-frozen`. */
  docsPath?: string
}

/**
 * Every error of ours. `code` is stable and lower-case (`grant.frozen`); `retryable` says whether the same call can
 * succeed later without a change. Expected refusals are values, not errors.
 */
export abstract class BaseError extends Error {
  abstract readonly code: string
  readonly retryable: boolean = false
  readonly shortMessage: string
  readonly metaMessages: string[]
  readonly docsPath: string | undefined

  constructor(shortMessage: string, { cause, metaMessages = [], docsPath }: BaseErrorOptions = {}) {
    const lines = [shortMessage, ...metaMessages]
    super(lines.join('\n'), cause === undefined ? undefined : { cause })
    this.name = new.target.name
    this.shortMessage = shortMessage
    this.metaMessages = metaMessages
    this.docsPath = docsPath
  }
}
