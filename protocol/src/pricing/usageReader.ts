import { createEventStream } from './eventStream.ts'
import type { Usage } from './pricing.ts'
import { createUsageInJson } from './usageInJson.ts'

/** Reads what an answer of a language model says it used, from the bytes that pass. It changes and keeps none of them. */
export type UsageReader = {
  /**
   * Reads on from `from`, in a stream of events up to the end of the next event, else to the end. `to` is the first byte that
   * it has not read; `isEvent` tells that what ended there is an event.
   */
  read(bytes: Uint8Array, from?: number): { to: number; isEvent: boolean }
  /** What was said last; undefined: nothing yet, or nothing that can be understood. */
  readonly usage: Pick<Usage, 'inputTokens' | 'outputTokens'> | undefined
  /** Events that brought text: about as many as tokens, for an answer that ends before it says its usage. */
  readonly texts: number
}

export type UsageReaderOptions = {
  /** Of the answer. `text/event-stream` is read as events, everything else as one JSON text. */
  contentType: string | null | undefined
}

/**
 * Reads OpenAI's `usage` (`prompt_tokens` and `completion_tokens`, or `input_tokens` and `output_tokens`) and Anthropic's, from a
 * JSON answer or from the last server-sent event that has one, in constant memory, wherever the chunks are cut.
 *
 * @example
 * const reader = createUsageReader({ contentType: response.headers.get('content-type') })
 * for await (const chunk of response.body) readAll(reader, chunk)
 * amountOf(pricing, reader.usage ?? {})
 */
export function createUsageReader({ contentType }: UsageReaderOptions): UsageReader {
  return isEventStream(contentType) ? createEventReader() : createJsonReader()
}

/** Reads a chunk to its end. */
export function readAll(reader: UsageReader, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at = reader.read(bytes, at).to
}

/** Whether an answer of this type is a stream of server-sent events. */
export function isEventStream(contentType: string | null | undefined): boolean {
  return /^\s*text\/event-stream\s*(;|$)/i.test(contentType ?? '')
}

function createJsonReader(): UsageReader {
  const json = createUsageInJson()
  return {
    texts: 0,
    get usage() {
      return json.usage
    },
    read(bytes, from = 0) {
      for (let at = from; at < bytes.length; at++) json.push(bytes[at] ?? 0)
      return { to: bytes.length, isEvent: false }
    },
  }
}

function createEventReader(): UsageReader {
  let usage: UsageReader['usage']
  let texts = 0
  let json = createUsageInJson()
  let hasText = createFinder(['"delta"', '"text"'])
  let isText = false
  const events = createEventStream({
    onData(byte) {
      json.push(byte)
      isText = hasText(byte) || isText
    },
  })
  return {
    get usage() {
      return usage
    },
    get texts() {
      return texts
    },
    read(bytes, from = 0) {
      for (let at = from; at < bytes.length; at++) {
        if (!events.push(bytes[at] ?? 0)) continue
        if (json.usage) usage = { ...usage, ...json.usage }
        if (isText) texts += 1
        json = createUsageInJson()
        hasText = createFinder(['"delta"', '"text"'])
        isText = false
        return { to: at + 1, isEvent: true }
      }
      return { to: bytes.length, isEvent: false }
    },
  }
}

/** Whether one of some quoted words has passed by. They begin and end with a quote and have none inside. */
function createFinder(words: readonly string[]): (byte: number) => boolean {
  const positions = words.map(() => 0)
  let isFound = false
  return (byte) => {
    for (const [index, word] of words.entries()) {
      const position = positions[index] ?? 0
      const next = byte === word.charCodeAt(position) ? position + 1 : byte === word.charCodeAt(0) ? 1 : 0
      isFound ||= next === word.length
      positions[index] = next === word.length ? 1 : next
    }
    return isFound
  }
}
