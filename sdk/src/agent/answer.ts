import {
  type Address,
  channelSchema,
  decodeHeader,
  type Hex,
  type PaymentRequired,
  type Problem,
  paymentResponseHeader,
  problemContentType,
  problemSchema,
  type SettleResponse,
  sessionReceiptSchema,
  settleResponseSchema,
} from '@protocolbanks/stream-protocol'
import type { Claim } from './ledger.ts'
import { readPaymentRequired } from './offer.ts'
import { StreamStoppedError } from './streamStopped.ts'

/** What one call cost, from PAYMENT-RESPONSE. Amounts in base units. */
export type Receipt = {
  url: string
  payee: Address
  service: string
  requestId: string
  amountAtomic: bigint
  /** Charged by this payee in total under the grant. */
  chargedAtomic: bigint
  /** The highest cumulative amount this payee holds a voucher for. */
  authorizedAtomic: bigint
  /** PAYMENT-RESPONSE as it came. Where it is signed it proves the charge to others: see `verifyReceipt`. */
  paymentResponse: SettleResponse
}

/** An answer that says no: every 402, and every problem with a code. */
export type Refusal = {
  status: number
  code: string
  problem: Problem | undefined
  required: PaymentRequired | undefined
  /** What the gateway says about our channel: told only to a holder of the session key. */
  claim: Claim | undefined
}

/** Longest problem body that is read, in bytes. */
const maxProblemBytes = 64 * 1024

type Expected = { grantId: Hex; requestId: string; payee: Address; price: bigint; url: string }

/** The receipt of this very request; undefined when the answer carries none (or another's, out of some cache). */
export function readReceipt(response: Response, expected: Expected): Receipt | undefined {
  const header = response.headers.get(paymentResponseHeader)
  if (!header) return undefined
  const settled = decodeHeader(header, settleResponseSchema)
  return settled.ok ? receiptOf(settled.value, expected) : undefined
}

/** The same from the last event of a metered stream. */
export function toReceipt(data: string, expected: Expected): Receipt | undefined {
  try {
    const settled = settleResponseSchema.safeParse(JSON.parse(data))
    return settled.success ? receiptOf(settled.data, expected) : undefined
  } catch {
    return undefined
  }
}

function receiptOf(paymentResponse: SettleResponse, expected: Expected): Receipt | undefined {
  const { success, amount, extra: own } = paymentResponse
  const extra = sessionReceiptSchema.safeParse(own)
  if (!success || !extra.success) return undefined
  const { grantId, requestId, service, charged, authorized } = extra.data
  if (grantId !== expected.grantId.toLowerCase() || requestId !== expected.requestId) return undefined
  return {
    url: expected.url,
    payee: expected.payee,
    service,
    requestId,
    amountAtomic: amount === undefined ? expected.price : BigInt(amount),
    chargedAtomic: BigInt(charged),
    authorizedAtomic: BigInt(authorized),
    paymentResponse,
  }
}

/** Why a voucher out of band was not taken, as far as an answer without a body tells. */
export function voucherRefused(url: string, response: Response): StreamStoppedError {
  const error = readPaymentRequired(response)?.error
  const details = [`Status: ${response.status}`, ...(error === undefined ? [] : [`Code: ${error}`])]
  return new StreamStoppedError({ url, reason: 'voucher_refused', details })
}

/** The same answer with another body. */
export function withBody(response: Response, body: ReadableStream<Uint8Array>): Response {
  const { status, statusText, headers, url, redirected } = response
  const answer = new Response(body, { status, statusText, headers })
  return Object.defineProperties(answer, { url: { value: url }, redirected: { value: redirected } })
}

/** Reads a copy: the answer's own body stays unread. */
export async function readRefusal(response: Response, grantId: Hex): Promise<Refusal | undefined> {
  if (response.status < 400) return undefined
  const problem = await readProblem(response)
  if (response.status !== 402 && !problem) return undefined
  const required = response.status === 402 ? readPaymentRequired(response) : undefined
  return {
    status: response.status,
    code: problem?.code ?? 'payment.refused',
    problem,
    required,
    claim: required && readClaim(required, grantId),
  }
}

function readClaim(required: PaymentRequired, grantId: Hex): Claim | undefined {
  const channel = channelSchema.safeParse(required.extensions?.session)
  if (!channel.success || channel.data.grantId !== grantId.toLowerCase()) return undefined
  return { charged: BigInt(channel.data.charged), authorized: BigInt(channel.data.authorized) }
}

async function readProblem(response: Response): Promise<Problem | undefined> {
  if (!response.headers.get('content-type')?.toLowerCase().startsWith(problemContentType)) return undefined
  const text = await readText(response.clone())
  try {
    const parsed = problemSchema.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

/** The start of a body as text; empty when it breaks off. */
async function readText(copy: Response): Promise<string> {
  const reader = copy.body?.getReader()
  if (!reader) return ''
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (let size = 0; size <= maxProblemBytes; ) {
      const { done, value } = await reader.read()
      if (done) return text + decoder.decode()
      size += value.byteLength
      text += decoder.decode(value, { stream: true })
    }
    // The other half of a clone may still be read by the caller: do not wait for the cancel.
    void reader.cancel()
  } catch {
    return ''
  }
  return text
}
