import {
  amountOf,
  coveredBy,
  createEventStream,
  createUsageReader,
  type EventStream,
  isEventStream,
  type MeteredPricing,
  parseUnits,
  readAll,
  type Usage,
  type UsageReader,
} from '@protocolbanks/stream-protocol'
import { InvalidReportError } from './merchantErrors.ts'

/** Measures one call that is priced by use. */
export type CallMeter = {
  /** What it costs so far, base units. */
  amount(): bigint
  /** False while nobody has told what is paid for: then nobody knows what it used. */
  readonly isMeasured: boolean
  /** Units that the handler reports, added to those before. @throws InvalidReportError */
  report(units: number | string): void
  /** Nothing is delivered until `resume`: that time is nobody's. */
  pause(): void
  resume(): void
  /** The answer has begun. */
  begin(contentType: string | null | undefined): void
  /** Bytes of the answer that are delivered. */
  add(bytes: Uint8Array): void
  /** How many more bytes `heldAtomic` pays for; infinite where bytes are not what is paid for. */
  room(heldAtomic: bigint): number
  /**
   * Of a stream of events: where the event ends that `bytes` goes on with from `from`; `bytes.length` when it does not end
   * there. Each byte is looked at once.
   */
  endOfEvent(bytes: Uint8Array, from: number): number
  /** False in the middle of an event, where nothing may be said in between. */
  readonly isBetweenEvents: boolean
  /** The answer is a stream of server-sent events. */
  readonly isEvents: boolean
}

export type CallMeterOptions = {
  pricing: MeteredPricing
  /** Length of the request's body. */
  requestBytes: number
  /** Milliseconds, from any moment, that never go back. */
  now(): number
}

const bytesPerToken = 4

/** Starts to measure a call: its time runs from here. */
export function createCallMeter({ pricing, requestBytes, now }: CallMeterOptions): CallMeter {
  const startedAt = now()
  let pausedMs = 0
  let pausedAt: number | undefined
  let microUnits: bigint | undefined
  let bytes = 0
  let isEvents = false
  let reader: UsageReader | undefined
  let events: EventStream | undefined
  let said: UsageReader['usage']
  /** Pieces of text that had come when the usage was said. */
  let textsThen = 0

  /** Those that an answer never told are about as many as its texts, and a quarter of the request's bytes. */
  function tokens(): Pick<Usage, 'inputTokens' | 'outputTokens'> {
    if (!reader) return {}
    return {
      inputTokens: said?.inputTokens ?? Math.ceil(requestBytes / bytesPerToken),
      outputTokens: (said?.outputTokens ?? 0) + reader.texts - textsThen,
    }
  }

  return {
    get isEvents() {
      return isEvents
    },
    get isBetweenEvents() {
      return events?.isBetweenEvents ?? true
    },
    amount() {
      return amountOf(pricing, {
        microUnits,
        bytes,
        milliseconds: Math.max(0, Math.floor((pausedAt ?? now()) - startedAt - pausedMs)),
        ...tokens(),
      })
    },
    get isMeasured() {
      if (pricing.kind === 'unit') return microUnits !== undefined
      return pricing.kind !== 'token' || said !== undefined || (reader?.texts ?? 0) > 0
    },
    pause() {
      pausedAt ??= now()
    },
    resume() {
      if (pausedAt !== undefined) pausedMs += now() - pausedAt
      pausedAt = undefined
    },
    report(units) {
      if (pricing.kind !== 'unit') throw new InvalidReportError(`The call is priced by ${pricing.kind}, not by unit.`)
      const more = parseUnits(String(units))
      if (more === undefined) {
        throw new InvalidReportError(`Units: ${String(units).slice(0, 40)}. At most six digits may follow the point.`)
      }
      microUnits = (microUnits ?? 0n) + more
    },
    begin(contentType) {
      isEvents = isEventStream(contentType)
      if (isEvents) events = createEventStream({ onData() {} })
      if (pricing.kind === 'token') reader = createUsageReader({ contentType })
    },
    add(chunk) {
      bytes += chunk.byteLength
      if (!reader) return
      readAll(reader, chunk)
      if (reader.usage === said) return
      said = reader.usage
      textsThen = reader.texts
    },
    room(heldAtomic) {
      const covered = pricing.kind === 'byte' ? coveredBy(pricing, heldAtomic) : undefined
      return covered === undefined ? Number.POSITIVE_INFINITY : Math.max(0, Number(covered) - bytes)
    },
    endOfEvent(chunk, from) {
      for (let at = from; at < chunk.length; at++) if (events?.push(chunk[at] ?? 0)) return at + 1
      return chunk.length
    },
  }
}
