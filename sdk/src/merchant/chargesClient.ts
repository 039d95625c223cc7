import {
  BaseError,
  type PricingJson,
  type Problem,
  paymentSignatureHeader,
  problemContentType,
} from '@protocolbanks/stream-protocol'
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

export type ChargesClientOptions = {
  gatewayUrl: string
  apiKey: string
  /** Each call to the gateway is given up after this long. */
  timeoutMs: number
  fetch: typeof fetch
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
const releaseTries = 3
const releaseDelayMs = 500
const settleTries = 2
const settleDelayMs = 500
const maxAnswerLength = 256 * 1024

export function createChargesClient(options: ChargesClientOptions): ChargesClient {
  const { apiKey, timeoutMs, onError } = options
  const chargesUrl = `${options.gatewayUrl.replace(/\/+$/, '')}/api/charges`
  let servedCalls = 0

  /** @param what Of the ticket; left out: it is charged. */
  async function post(ticket: string, what?: string, body?: unknown, waitMs = timeoutMs): Promise<Response> {
    const url = what === undefined ? chargesUrl : `${chargesUrl}/${encodeURIComponent(ticket)}/${what}`
    const headers: Record<string, string> = {
      authorization: `Bearer ${apiKey}`,
      // One gateway of several knows the ticket: a load balancer keeps together what says the same here.
      [paymentSignatureHeader]: ticket,
    }
    if (body !== undefined) headers['content-type'] = 'application/json'
    const response = await options.fetch(url, {
      method: 'POST',
      headers,
      redirect: 'error',
      signal: AbortSignal.timeout(waitMs),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    if (response.ok) return response
    const text = (await response.text()).slice(0, 500)
    throw new GatewayAnswerError({ url, status: response.status, text })
  }

  async function tell(ticket: string, what: 'served' | 'release'): Promise<void> {
    const response = await post(ticket, what)
    await response.body?.cancel()
  }

  /** It is done once, however often it is asked: a connection that broke is tried again. */
  async function settle(ticket: string, waitMs: number): Promise<SettleResult> {
    for (let tries = 1; ; tries++) {
      try {
        const response = await post(ticket, 'settle', undefined, waitMs)
        const text = await response.text()
        const result = text.length <= maxAnswerLength ? parseSettleResult(text) : undefined
        if (result) return result
        throw new GatewayAnswerError({ url: response.url, status: response.status, text: text.slice(0, 500) })
      } catch (error) {
        if (error instanceof GatewayAnswerError || isTimeout(error) || tries === settleTries) throw error
        await new Promise((resolve) => setTimeout(resolve, settleDelayMs))
      }
    }
  }

  async function postJson(ticket: string, what: string, body: unknown): Promise<Record<string, unknown>> {
    const response = await post(ticket, what, body)
    const value: unknown = await response.json()
    return typeof value === 'object' && value !== null ? { ...value } : {}
  }

  /** The answer to a charge was lost, so perhaps it was made: it must not stand. Unknown to the gateway is fine too. */
  async function cancel(ticket: string, isPaid = true): Promise<void> {
    try {
      await tell(ticket, 'release')
    } catch (error) {
      if (error instanceof GatewayAnswerError && error.status === 404) return
      await releaseAgain(ticket, isPaid)
    }
  }

  async function releaseAgain(ticket: string, isPaid: boolean): Promise<void> {
    for (let tries = 2; ; tries++) {
      await new Promise((resolve) => setTimeout(resolve, releaseDelayMs * tries))
      try {
        return await tell(ticket, 'release')
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
    tell(ticket, 'served')
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
        const response = await post(ticket, undefined, body)
        const text = await response.text()
        const result = text.length <= maxAnswerLength ? parseChargeResult(text) : undefined
        if (result) return result
        throw new GatewayAnswerError({ url: chargesUrl, status: response.status, text: text.slice(0, 500) })
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)))
        if (!(error instanceof GatewayAnswerError)) void cancel(ticket)
        return unavailable()
      }
    },
    async release(ticket, isPaid = true) {
      try {
        await tell(ticket, 'release')
      } catch {
        void releaseAgain(ticket, isPaid)
      }
    },
    async capture(ticket, amountAtomic) {
      try {
        const body = { amountAtomic: amountAtomic.toString() }
        const { headers } = await postJson(ticket, 'capture', body)
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
        return parseExtendResult(await postJson(ticket, 'extend', body))
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

/** The gateway answered what its API does not promise, e.g. because the API key is wrong. */
export class GatewayAnswerError extends BaseError {
  override readonly code = 'gateway.answer'
  readonly status: number
  constructor(p: { url: string; status: number; text: string }) {
    super('The gateway did not answer as its charges API promises.', {
      metaMessages: [
        `URL: ${p.url}`,
        `Status: ${p.status}`,
        `Body: ${p.text}`,
        p.status === 401 || p.status === 403 ? 'Check the API key and its merchant.' : 'Check gatewayUrl.',
      ],
      docsPath: '/errors#gateway-answer',
    })
    this.status = p.status
  }
}

/** A failed request was charged and the charge could not be taken back. */
export class ReleaseFailedError extends BaseError {
  override readonly code = 'charge.release_failed'
  constructor(ticket: string, cause: unknown) {
    super('A charge could not be released.', {
      cause,
      metaMessages: [
        `Ticket: ${ticket}`,
        `Tries: ${releaseTries}`,
        'Serve the request again free when it comes with the same id, or refund it.',
      ],
      docsPath: '/errors#charge-release-failed',
    })
  }
}
