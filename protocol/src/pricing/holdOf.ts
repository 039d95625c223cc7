import { amountOf } from './amountOf.ts'
import type { Pricing } from './pricing.ts'

/**
 * What to hold for one request, base units: `max`, the service's price, or less where the request bounds what it can use. Of
 * tokens it does when its JSON says how many it wants at most; as no token is shorter than a byte, the body's length bounds
 * those that are read, unless it refers to what is elsewhere (images, files, earlier answers).
 */
export function holdOf(pricing: Pricing, max: bigint, request: { body?: Uint8Array | undefined }): bigint {
  if (pricing.kind !== 'token' || request.body === undefined) return max
  const outputTokens = mostTokensOf(request.body)
  if (outputTokens === undefined) return max
  const most = amountOf(pricing, { inputTokens: request.body.byteLength, outputTokens })
  return most < max ? most : max
}

/** By what OpenAI's and Anthropic's APIs call the most tokens of one answer. */
const limits = ['max_tokens', 'max_completion_tokens', 'max_output_tokens']

/** Fields that bring in what the body does not hold. */
const references = new Set([
  'image_url',
  'file_id',
  'file_ids',
  'file_url',
  'url',
  'previous_response_id',
  'conversation',
  'container',
  'web_search_options',
  'mcp_servers',
])

const maxOutputTokens = 1_000_000_000

/** The most tokens that all answers to this request can have; undefined when it says nothing that can be relied on. */
function mostTokensOf(body: Uint8Array): number | undefined {
  let refers = false
  let asked: unknown
  try {
    asked = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body), (key, value: unknown) => {
      if (references.has(key) && value !== null) refers = true
      return value
    })
  } catch {
    return undefined
  }
  if (refers || typeof asked !== 'object' || asked === null) return undefined
  const fields = new Map<string, unknown>(Object.entries(asked))
  const most = limits.map((name) => fields.get(name)).filter((limit) => limit !== undefined && limit !== null)
  const answers = fields.get('n') ?? 1
  if (most.length === 0 || ![...most, answers].every(isCount)) return undefined
  // Which of several an API heeds is not known.
  return Math.max(...most.map(Number)) * Number(answers)
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= maxOutputTokens
}
