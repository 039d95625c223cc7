import { createUsageReader, type MeteredPricing, type Usage, type UsageReader } from '@protocolbanks/stream-protocol'

/** What an answer has used so far, while its bytes pass. */
export type UseMeasure = {
  /** See `UsageReader.read`. Bytes that are no part of what is paid for are read all the same. */
  read(bytes: Uint8Array, from?: number): { to: number; isEvent: boolean }
  /** What was read so far, at this moment. */
  usage(): Usage
  /** The answer told what is paid for, or it can be counted here: else nobody knows what it used. */
  readonly isMeasured: boolean
  /** Nothing is delivered until `resume`: that time is nobody's. */
  pause(): void
  resume(): void
}

export type UseMeasureOptions = {
  pricing: MeteredPricing
  contentType: string | null | undefined
  /** Length of the request's body: about what a model has read, when it does not say so. */
  requestBytes: number
  /** When the work began, by `now`. */
  startedAtMs: number
  now(): number
}

/** Length of a token, about, in text of any kind. */
const bytesPerToken = 4

/** Measures bytes, time, and the tokens that a language model says it used; of a stream that is left before, about those it sent. */
export function measureUse({ pricing, contentType, requestBytes, startedAtMs, now }: UseMeasureOptions): UseMeasure {
  const reader: UsageReader = createUsageReader({ contentType })
  let bytes = 0
  let pausedMs = 0
  let pausedAtMs: number | undefined
  let said: UsageReader['usage']
  /** Pieces of text that had come when the usage was said. */
  let textsThen = 0

  function tokens(): Usage {
    return {
      inputTokens: said?.inputTokens ?? Math.ceil(requestBytes / bytesPerToken),
      outputTokens: (said?.outputTokens ?? 0) + reader.texts - textsThen,
    }
  }

  return {
    get isMeasured() {
      return pricing.kind === 'byte' || pricing.kind === 'second' || said !== undefined || reader.texts > 0
    },
    read(chunk, from = 0) {
      const read = reader.read(chunk, from)
      bytes += read.to - from
      if (reader.usage !== said) {
        said = reader.usage
        textsThen = reader.texts
      }
      return read
    },
    usage() {
      if (pricing.kind === 'token') return tokens()
      const milliseconds = Math.max(0, Math.round((pausedAtMs ?? now()) - startedAtMs - pausedMs))
      return { bytes, milliseconds }
    },
    pause() {
      pausedAtMs ??= now()
    },
    resume() {
      if (pausedAtMs !== undefined) pausedMs += now() - pausedAtMs
      pausedAtMs = undefined
    },
  }
}
