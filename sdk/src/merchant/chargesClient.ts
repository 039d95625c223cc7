import {
  type ChargesOperation,
  type ChargesTransport,
  type PricingJson,
  type Problem,
  problemContentType,
} from '@protocolbanks/stream-protocol'
import { GatewayAnswerError, ReleaseFailedError, releaseTries } from './chargeErrors.ts'
import {
  type AnswerInstead,
  type ChargeResult,
  type ExtendResult,
  isHeaders,
  parseChargeResult,
  parseExtendResult,
  parseSettleResult,
  type SettleResult,
} from './chargeResult.ts'
import { chargesUrlOf } from './chargesTransport.ts'

export type ChargesClientOptions = {
  transport: ChargesTransport
  /** Of the charges API, as errors name it. */
  chargesUrl: string
  /** Each call to the gateway is given up after this long. */
  timeoutMs: number
  /** Told what a request cannot be told: a refused API key, a release that failed. */
  onError: (error: Error) => void
}

export type ChargeRequest = {
  service: string
  /** Base units. Of what is priced by use the most that one call costs. */
  amountAtomic: bigint
  /** What this call holds, where that is less. */
  holdAtomic?: bigint | undefined
  /** How the price comes about, for whoever asks, in base units; left out: it is fixed. */
  pricing?: PricingJson | undefined
  method: string
  /** Absolute URL as the agent called it. */
  url: string
  /** SHA-256 of the body in hex, so that a request id stands for one exact body. */
  bodyHash?: string | undefined
  /** The PAYMENT-SIGNATURE header. */
  paymentSignature: string | null
  /** Of who asks, as far as the server knows. The gateway keeps a keyed hash of it, to tell when a key is used elsewhere. */
  clientAddress?: string | undefined
}

/** One more segment of a stream. Base units. */
export type Segment = {
  amountAtomic: bigint
  /** What everything before it cost; all of what was held when left out. */
  usedAtomic: bigint | undefined
  /** From 2; asked for again it is charged once. Left out where nothing new was used: then the charge is kept open, no more. */
  segment?: number | undefined
}

/** The gateway's charges API. */
export type ChargesClient = {
  /** Never throws: an unreachable gateway is a 503 answer, so that no call is free. */
  charge(request: ChargeRequest): Promise<ChargeResult>
  /**
   * Undoes a charge. Resolves after the first try, so that the answer need not wait; two more follow if it fails.
   *
   * @param isPaid False of what is not paid before it is settled: the gateway releases that by itself in the end, so nobody is told.
   */
  release(ticket: string, isPaid?: boolean): Promise<void>
  /**
   * Charges what was used instead of what was held. Answers the headers of the answer, and none when it could not be done: then
   * what was held stands. Never throws.
   */
  capture(ticket: string, amountAtomic: bigint): Promise<Record<string, string>>
  /** Holds one more segment of a stream. Never throws: an unreachable gateway refuses. */
  extend(ticket: string, segment: Segment): Promise<ExtendResult>
  /**
   * Moves what the call is paid with, once: after the handler has answered, before the answer leaves. Never throws: when nobody
   * knows whether it moved the answer is a 503, and a repetition with the same payment is told.
   */
  settle(ticket: string, settleSeconds: number): Promise<SettleResult>
  /** Says that the charge stands. Does not wait. */
  served(ticket: string): void
}

/** `served` calls under way; beyond it the gateway finds out by itself that the charge stands. */
const maxServedCalls = 256
const releaseDelayMs = 500
const settleTries = 2
const settleDelayMs = 500
const maxAnswerLength = 256 * 1024

export function createChargesClient(options: ChargesClientOptions): ChargesClient {
  const { transport, chargesUrl, timeoutMs, onError } = options
  let servedCalls = 0

  /** The text of a good answer. @throws GatewayAnswerError, and what the transport says when there is none */
  async function post(
    operation: ChargesOperation,
    ticket: string,
    body?: Record<string, unknown>,
    waitMs = timeoutMs,
  ): Promise<string> {
    const answer = await transport(operation, { ticket, body: body && JSON.stringify(body), waitMs })
    if (answer.status >= 200 && answer.status < 300) return answer.text
    throw answerError(operation, ticket, answer)
  }

  function answerError(
    operation: ChargesOperation,
    ticket: string,
    { status, text }: { status: number; text: string },
  ): GatewayAnswerError {
    return new GatewayAnswerError({
      url: chargesUrlOf(chargesUrl, operation, ticket),
      status,
      text: text.slice(0, 500),
    })
  }

  /** It is done once, however often it is asked: a connection that broke is tried again. */
  async function settle(ticket: string, waitMs: number): Promise<SettleResult> {
    for (let tries = 1; ; tries++) {
      try {
        const text = await post('settle', ticket, undefined, waitMs)
        const result = text.length <= maxAnswerLength ? parseSettleResult(text) : undefined
        if (result) return result
        throw answerError('settle', ticket, { status: 200, text })
      } catch (error) {
        if (error instanceof GatewayAnswerError || isTimeout(error) || tries === settleTries) throw error
        await new Promise((resolve) => setTimeout(resolve, settleDelayMs))
      }
    }
  }

  async function postJson(
    operation: ChargesOperation,
    ticket: string,
    body: Record<string, unknown>,
  ): Promise<Record<string, unknown>> {
    const value: unknown = JSON.parse(await post(operation, ticket, body))
    return typeof value === 'object' && value !== null ? { ...value } : {}
  }

  /** The answer to a charge was lost, so perhaps it was made: it must not stand. Unknown to the gateway is fine too. */
  async function cancel(ticket: string, isPaid = true): Promise<void> {
    try {
      await post('release', ticket)
    } catch (error) {
      if (error instanceof GatewayAnswerError && error.status === 404) return
      await releaseAgain(ticket, isPaid)
    }
  }

  async function releaseAgain(ticket: string, isPaid: boolean): Promise<void> {
    for (let tries = 2; ; tries++) {
      await new Promise((resolve) => setTimeout(resolve, releaseDelayMs * tries))
      try {
        await post('release', ticket)
        return
      } catch (error) {
        if (tries < releaseTries) continue
        if (isPaid) onError(new ReleaseFailedError(ticket, error))
        return
      }
    }
  }

  function served(ticket: string): void {
    if (servedCalls >= maxServedCalls) return
    servedCalls++
    post('served', ticket)
      .catch((error: Error) => onError(error))
      .finally(() => servedCalls--)
  }

  return {
    async charge(request) {
      const ticket = crypto.randomUUID()
      try {
        const { amountAtomic, holdAtomic } = request
        const body = {
          ...request,
          ticket,
          settles: true,
          amountAtomic: amountAtomic.toString(),
          ...(holdAtomic !== undefined && { holdAtomic: holdAtomic.toString() }),
        }
        const text = await post('charge', ticket, body)
        const result = text.length <= maxAnswerLength ? parseChargeResult(text) : undefined
        if (result) return result
        throw answerError('charge', ticket, { status: 200, text })
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)))
        if (!(error instanceof GatewayAnswerError)) void cancel(ticket)
        return unavailable()
      }
    },
    async release(ticket, isPaid = true) {
      try {
        await post('release', ticket)
      } catch {
        void releaseAgain(ticket, isPaid)
      }
    },
    async capture(ticket, amountAtomic) {
      try {
        const body = { amountAtomic: amountAtomic.toString() }
        const { headers } = await postJson('capture', ticket, body)
        served(ticket)
        return isHeaders(headers) ? headers : {}
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)))
        return {}
      }
    },
    async extend(ticket, { amountAtomic, usedAtomic, segment }) {
      try {
        const body = { amountAtomic: amountAtomic.toString(), usedAtomic: usedAtomic?.toString(), segment }
        return parseExtendResult(await postJson('extend', ticket, body))
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)))
        return { outcome: 'refused', code: 'gateway.unavailable' }
      }
    },
    async settle(ticket, settleSeconds) {
      try {
        return await settle(ticket, settleSeconds * 1_000 + timeoutMs)
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)))
        // Nothing is answered now: if it did move, the gateway owes the answer to whoever comes with the same payment.
        void cancel(ticket, false)
        return settlementUnknown()
      }
    },
    served,
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

function unavailable(): ChargeResult {
  return answer503('1', {
    type: 'https://docs.protocolbanks.com/errors#gateway-unavailable',
    title: 'The payment gateway cannot be reached.',
    code: 'gateway.unavailable',
    hint: 'Nothing was served. Send the same request again in a moment, with the same request id.',
  })
}

function settlementUnknown(): SettleResult {
  return answer503('5', {
    type: 'https://docs.protocolbanks.com/errors#exact-settlement-unknown',
    title: 'The payment gateway did not say whether the payment was made.',
    code: 'exact.settlement_unknown',
    hint: 'Nothing was answered. Repeat the request with the same payment: it is not paid twice.',
  })
}

function answer503(retryAfter: string, problem: Pick<Problem, 'type' | 'title' | 'code' | 'hint'>): AnswerInstead {
  return {
    outcome: 'answer',
    status: 503,
    headers: { 'content-type': problemContentType, 'cache-control': 'no-store', 'retry-after': retryAfter },
    body: JSON.stringify({ ...problem, status: 503 } satisfies Problem),
  }
}
