/** Give this answer to the agent as it is. */
export type AnswerInstead = { outcome: 'answer'; status: number; headers: Record<string, string>; body: string }

export type ChargeResult =
  /**
   * Serve the request and add the headers; afterwards say `served` or `release`. With `settleSeconds` nothing is paid before
   * `settle`, which takes as long at most, and has the headers.
   */
  | { outcome: 'charged'; ticket: string; headers: Record<string, string>; settleSeconds?: number | undefined }
  | AnswerInstead

export type SettleResult =
  /** Answer with these headers, and say `served`. */
  | { outcome: 'settled'; headers: Record<string, string> }
  /** In the place of what was served. The charge is over. */
  | AnswerInstead

export type ExtendResult =
  /** So much more is held. */
  | { outcome: 'charged' }
  /** The newest voucher does not cover it; another may come. */
  | { outcome: 'exhausted'; requiredCumulative: string; acceptedCumulative: string }
  | { outcome: 'refused'; code: string }

/** No gateway takes longer. */
const maxSettleSeconds = 3_600

/** What `extend` was answered; whatever else the gateway says is a refusal. */
export function parseExtendResult({ outcome, code, ...rest }: Record<string, unknown>): ExtendResult {
  if (outcome === 'charged') return { outcome }
  const { requiredCumulative, acceptedCumulative } = rest
  if (outcome === 'exhausted' && typeof requiredCumulative === 'string' && typeof acceptedCumulative === 'string') {
    return { outcome, requiredCumulative, acceptedCumulative }
  }
  return { outcome: 'refused', code: typeof code === 'string' ? code : 'gateway.answer' }
}

/** The gateway's JSON, or undefined when it is not what the API promises. */
export function parseChargeResult(text: string): ChargeResult | undefined {
  const value = parseObject(text)
  if (value.outcome !== 'charged') return parseAnswer(value)
  const { outcome, ticket, headers, settleSeconds } = value
  if (!isHeaders(headers) || typeof ticket !== 'string' || ticket === '') return undefined
  if (settleSeconds === undefined) return { outcome, ticket, headers }
  const isTime = typeof settleSeconds === 'number' && settleSeconds > 0 && settleSeconds <= maxSettleSeconds
  return isTime ? { outcome, ticket, headers, settleSeconds } : undefined
}

/** The same of a settlement. */
export function parseSettleResult(text: string): SettleResult | undefined {
  const value = parseObject(text)
  const { outcome, headers } = value
  if (outcome !== 'settled') return parseAnswer(value)
  return isHeaders(headers) ? { outcome, headers } : undefined
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function parseAnswer({ outcome, status, headers, body }: Record<string, unknown>): AnswerInstead | undefined {
  if (!isHeaders(headers)) return undefined
  const isStatus = typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599
  return outcome === 'answer' && isStatus && typeof body === 'string' ? { outcome, status, headers, body } : undefined
}

export function isHeaders(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((field) => typeof field === 'string')
  )
}
