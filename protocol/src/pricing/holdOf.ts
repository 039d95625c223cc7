import { amountOf } from './amountOf.ts'
import type { Pricing } from './pricing.ts'

/**
 * What to hold for one request, base units: `max`, the service's price, or less where the request bounds what it can use. Of
 * tokens it does when its JSON says how many it wants at most, and has nothing that is not known to be bounded so; as no token is
 * shorter than a byte, the body's length bounds those that are read.
 */
export function holdOf(pricing: Pricing, max: bigint, request: { body?: Uint8Array | undefined }): bigint {
  if (pricing.kind !== 'token' || request.body === undefined) return max
  const outputTokens = mostTokensOf(request.body)
  if (outputTokens === undefined) return max
  const most = amountOf(pricing, { inputTokens: request.body.byteLength, outputTokens })
  return most < max ? most : max
}

/** By what OpenAI's and Anthropic's APIs call the most tokens of one answer, by the field that has the question. */
const limitsOf = {
  messages: ['max_tokens', 'max_completion_tokens'],
  input: ['max_output_tokens'],
  prompt: ['max_tokens'],
} as const

/**
 * All that a request may have beside its question and its limits: nothing that makes more answers, has a tool run on the other
 * side, or brings in what the body does not hold.
 */
const harmless = new Set([
  ...['model', 'system', 'instructions', 'n', 'stream', 'stream_options', 'user', 'metadata', 'store', 'service_tier'],
  ...['temperature', 'top_p', 'top_k', 'seed', 'stop', 'stop_sequences', 'presence_penalty', 'frequency_penalty'],
  ...['logit_bias', 'logprobs', 'top_logprobs', 'response_format', 'text', 'verbosity'],
  ...['tools', 'tool_choice', 'parallel_tool_calls', 'reasoning', 'reasoning_effort', 'thinking'],
])

/** Fields that bring in what the body does not hold, wherever they are. */
const references = new Set(['image_url', 'file_id', 'file_ids', 'file_url', 'file_data', 'url', 'uri', 'container'])

/** What parts of a message, tools and formats may be; what a schema says of its values too. */
const plainTypes = new Set([
  ...['text', 'input_text', 'output_text', 'refusal', 'message', 'reasoning', 'thinking', 'enabled', 'disabled'],
  ...[
    'function',
    'function_call',
    'function_call_output',
    'custom',
    'tool_use',
    'tool_result',
    'auto',
    'any',
    'tool',
    'none',
  ],
  ...['json_schema', 'json_object', 'object', 'array', 'string', 'number', 'integer', 'boolean', 'null'],
])

const maxOutputTokens = 1_000_000_000

/** The most tokens that all answers to this request can have; undefined when it says nothing that can be relied on. */
function mostTokensOf(body: Uint8Array): number | undefined {
  let isPlain = true
  let asked: unknown
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body)
    asked = JSON.parse(text, (key, value: unknown) => {
      if (references.has(key) && value !== null) isPlain = false
      if (key === 'type' && typeof value === 'string' && !plainTypes.has(value)) isPlain = false
      return value
    })
  } catch {
    return undefined
  }
  if (!isPlain || typeof asked !== 'object' || asked === null) return undefined
  const fields = new Map<string, unknown>(Object.entries(asked))
  const [question, ...others] = (['messages', 'input', 'prompt'] as const).filter((name) => fields.has(name))
  if (question === undefined || others.length > 0) return undefined
  // A list of prompts asks for an answer to each.
  if (question === 'prompt' && typeof fields.get('prompt') !== 'string') return undefined
  const limits: readonly string[] = limitsOf[question]
  for (const name of fields.keys())
    if (name !== question && !limits.includes(name) && !harmless.has(name)) return undefined
  // Servers take a field that is there twice, or written otherwise, in ways of their own.
  const bounds = [...limits, 'n']
  const isOnce = bounds.every((name) => timesNamed(text, name) === (fields.has(name) ? 1 : 0))
  const most = limits.map((name) => fields.get(name)).filter((limit) => limit !== undefined && limit !== null)
  const answers = fields.get('n') ?? 1
  if (!isOnce || most.length === 0 || ![...most, answers].every(isCount)) return undefined
  // Which of several an API heeds is not known.
  return Math.max(...most.map(Number)) * Number(answers)
}

/** How often a text of JSON has a field of this name, at any depth and in any case. */
function timesNamed(text: string, name: string): number {
  return text.match(new RegExp(`"${name}"\\s*:`, 'gi'))?.length ?? 0
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= maxOutputTokens
}
