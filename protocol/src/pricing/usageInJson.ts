import type { Usage } from './pricing.ts'

/** Reads the `usage` of one JSON text while its bytes pass. */
export type UsageInJson = {
  push(byte: number): void
  /** What was found so far; undefined: nothing yet. */
  readonly usage: Pick<Usage, 'inputTokens' | 'outputTokens'> | undefined
}

/** Longest `usage` that is read, in bytes; a longer one counts as none. */
const maxUsageBytes = 8_192
/** No key of ours is longer. */
const maxKeyBytes = 16
/** `message` is Anthropic's message_start, `response` OpenAI's response.completed. */
const parents = new Set(['message', 'response'])

const quote = 0x22
const backslash = 0x5c
const colon = 0x3a
const comma = 0x2c
const openObject = 0x7b
const closeObject = 0x7d
const openArray = 0x5b
const closeArray = 0x5d

/**
 * Finds `usage` at the top of a JSON object, or in its `message` or `response`, in constant memory: it looks at each byte once
 * and keeps the current key and the value of `usage` alone. Of what is no JSON it finds nothing, or what looks like it.
 */
export function createUsageInJson(): UsageInJson {
  let usage: UsageInJson['usage']
  let depth = 0
  let isString = false
  let isEscaped = false
  /** Only in an object, before its colon. */
  let isKey = false
  let key = ''
  /** Key of the value that is being read at depth 1. */
  let parent = ''
  /** Depth of the object that holds the `usage` that is being kept; 0: none is. */
  let keptIn = 0
  let kept: number[] = []
  let arrays = 0

  function end(at: number) {
    if (keptIn !== at) return
    const found = parseUsage(kept)
    if (found) usage = { ...usage, ...found }
    keptIn = 0
    kept = []
  }

  function keep(byte: number) {
    if (kept.length < maxUsageBytes) kept.push(byte)
  }

  return {
    get usage() {
      return usage
    },
    push(byte) {
      if (isString) {
        if (keptIn > 0) keep(byte)
        if (isEscaped) isEscaped = false
        else if (byte === backslash) isEscaped = true
        else if (byte === quote) {
          isString = false
          return
        }
        if (isKey && key.length < maxKeyBytes) key += String.fromCharCode(byte)
        return
      }
      switch (byte) {
        case quote:
          isString = true
          if (isKey) key = ''
          break
        case openObject:
        case openArray:
          depth += 1
          if (byte === openArray) arrays += 1
          isKey = byte === openObject && arrays === 0 && keptIn === 0 && depth <= 2
          break
        case closeObject:
        case closeArray:
          end(depth)
          depth -= 1
          if (byte === closeArray) arrays -= 1
          isKey = false
          break
        case comma:
          end(depth)
          isKey = arrays === 0 && keptIn === 0 && (depth === 1 || depth === 2)
          break
        case colon:
          if (!isKey) break
          isKey = false
          if (key === 'usage' && (depth === 1 || parents.has(parent))) {
            keptIn = depth
            kept = []
            return
          }
          if (depth === 1) parent = key
          break
      }
      if (keptIn > 0) keep(byte)
    },
  }
}

/** OpenAI's two ways to say it, and Anthropic's, whose `input_tokens` leave out those of its cache. */
function parseUsage(bytes: readonly number[]): UsageInJson['usage'] {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes)))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const fields = new Map<string, unknown>(Object.entries(value))
  const count = (name: string) => toCount(fields.get(name))
  const read = count('input_tokens')
  const cached = (count('cache_creation_input_tokens') ?? 0) + (count('cache_read_input_tokens') ?? 0)
  const inputTokens = count('prompt_tokens') ?? (read === undefined ? undefined : read + cached)
  const outputTokens = count('completion_tokens') ?? count('output_tokens')
  if (inputTokens === undefined && outputTokens === undefined) return undefined
  return {
    ...(inputTokens !== undefined && { inputTokens }),
    ...(outputTokens !== undefined && { outputTokens }),
  }
}

const maxTokens = 1_000_000_000_000

function toCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maxTokens ? value : undefined
}
