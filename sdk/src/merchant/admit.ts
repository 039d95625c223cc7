import { formatPricing, problemContentType } from '@protocolbanks/stream-protocol'
import type { AnswerInstead, ChargeResult } from './chargeResult.ts'
import type { Charger, OpenCall } from './charger.ts'
import type { ChargeRequest } from './chargesClient.ts'
import { createCallMeter } from './createCallMeter.ts'
import type { KeptAnswer } from './keptAnswers.ts'
import { createMeteredCall, type MeteredCall } from './meteredCall.ts'
import { isPaidBefore, keyOf, type NamedPayment, namePayment } from './namePayment.ts'
import type { CallPrice, PriceableRequest } from './price.ts'
import { sha256 } from './sha256.ts'

/** One call as the adapter of a framework describes it. */
export type PaidCall = PriceableRequest & {
  body?: Uint8Array<ArrayBuffer> | undefined
  paymentSignature: string | null
  clientAddress?: string | undefined
  /** What the handler knows the request by. */
  handles: readonly object[]
}

export type Admission =
  /** Give this as it is: a refusal, or the first answer of a call that was paid and answered before. */
  { kind: 'answer'; answer: KeptAnswer } | { kind: 'serve'; call: AdmittedCall }

/**
 * A charged call. The adapter says how it ends: `served` and then once `end`, or `release` alone. Where there is a `settle` it
 * comes before `served`; after it `release` says that nobody was there any more to answer.
 */
export type AdmittedCall = {
  /** An answer of this status or above is none: it is released. */
  failsFrom: 400 | 500
  /**
   * Of a payment that moves before its answer leaves. Undefined: it has, and the answer may leave. Else this is answered in the
   * place of what the handler answered, and the call is over.
   */
  settle?: (() => Promise<KeptAnswer | undefined>) | undefined
  /** Of what is priced by use: takes the place of `served`. */
  metered?: MeteredCall | undefined
  /** The head of a good answer is about to leave: the charge stands. Answers the headers to add to it. */
  served(): Record<string, string>
  /**
   * The answer is complete, and can be given again; 'given': it was too large for that, or is gone with its reader;
   * 'broken': it broke off half-way, so a retry is served again without a charge.
   */
  end(answer: KeptAnswer | 'given' | 'broken'): void
  /** Nothing is served: the charge is undone. A failed answer leaves when this resolves, with these headers. */
  release(): Promise<Record<string, string>>
}

/** Calls that are served or broke off, at most; the oldest is forgotten, and its retry is answered 409. */
const maxOpenCalls = 100_000
const maxWaiters = 16

/**
 * Charges one call, or says what to answer instead. The same payment for the same request is charged once, whatever
 * number of times it comes: while the first is being served the others wait for it, and then get its answer.
 */
export async function admit(charger: Charger, call: PaidCall): Promise<Admission> {
  const { client, answers, open } = charger
  const price = await charger.priceOf(call)
  const request = await toChargeRequest(charger, call, price)
  const named = call.paymentSignature === null ? undefined : namePayment(call.paymentSignature)
  const voucherFor = named?.session?.voucherFor
  if (voucherFor !== undefined) return takeVoucher(charger, request, voucherFor)
  const admitted = { call, price, named }
  const key = await keyOf(request, named)
  if (key !== undefined && !(await firstEnded(charger, key))) return { kind: 'answer', answer: inProgress() }

  const result = await client.charge(request)
  const wasPaidBefore = result.outcome === 'answer' && isPaidBefore(result, named)
  if (key === undefined || (result.outcome === 'answer' && !wasPaidBefore))
    return toAdmission(charger, result, { ...admitted, key })

  const kept = await ask(charger, () => answers.get(key))
  if (kept) {
    if (result.outcome === 'charged') {
      // Charged anew without a cost: the gateway that knew it is gone, or never heard that it was answered.
      const { ticket, settleSeconds } = result
      const settled = settleSeconds === undefined ? undefined : await client.settle(ticket, settleSeconds)
      if (settled?.outcome === 'answer') return toAnswer(settled)
      client.served(ticket)
    }
    return { kind: 'answer', answer: kept }
  }
  const receipt = result.headers['payment-response']
  if (result.outcome === 'answer' && receipt !== undefined && open.get(key)?.state === 'broken') {
    return { kind: 'serve', call: serveAgain(charger, key, receipt) }
  }
  return toAdmission(charger, result, { ...admitted, key })
}

async function toChargeRequest(charger: Charger, call: PaidCall, price: CallPrice): Promise<ChargeRequest> {
  const { method, url, body, paymentSignature, clientAddress } = call
  const { pricing, amountAtomic, holdAtomic } = price
  return {
    ...{ service: charger.service, amountAtomic, method, url, paymentSignature, clientAddress },
    ...(pricing.kind !== 'call' && { pricing: formatPricing(pricing, 0), holdAtomic }),
    bodyHash: body && (await sha256(body)),
  }
}

/** The next voucher of a stream that runs, here or elsewhere: nothing is served for it. */
async function takeVoucher(charger: Charger, request: ChargeRequest, voucherFor: string): Promise<Admission> {
  const result = await charger.client.charge(request)
  if (result.outcome === 'charged') {
    // A gateway that does not know of streams has charged a call.
    await charger.client.release(result.ticket)
    return { kind: 'answer', answer: inProgress() }
  }
  charger.vouchers.get(voucherFor)?.()
  return toAnswer(result)
}

function toAnswer(result: AnswerInstead): Admission {
  return { kind: 'answer', answer: answerOf(result) }
}

function answerOf({ status, headers, body }: AnswerInstead): KeptAnswer {
  return { status, headers: Object.entries(headers), body: new TextEncoder().encode(body) }
}

type Admitted = { call: PaidCall; price: CallPrice; named: NamedPayment | undefined; key: string | undefined }

function toAdmission(charger: Charger, result: ChargeResult, admitted: Admitted): Admission {
  if (result.outcome === 'answer') return toAnswer(result)
  const { ticket, settleSeconds } = result
  let { headers } = result
  const { named, price } = admitted
  const { pricing, holdAtomic, amountAtomic: segmentAtomic } = price
  const finish = begin(charger, admitted.key)
  const { requestId, channelId } = named?.session ?? { requestId: undefined, channelId: undefined }
  const contentLength = admitted.call.body?.byteLength ?? Number(admitted.call.header('content-length') ?? 0)
  const requestBytes = Number.isFinite(contentLength) ? contentLength : 0
  // What is paid at once has a fixed price.
  const metered =
    pricing.kind === 'call' || settleSeconds !== undefined
      ? undefined
      : createMeteredCall(charger, {
          ...{ pricing, ticket, headers, holdAtomic, segmentAtomic, requestId, channelId, requestBytes },
        })
  if (pricing.kind !== 'call') {
    // The handler reports all the same, and is told when it does so wrongly.
    const reporter = metered ?? createCallMeter({ pricing, requestBytes, now: charger.now })
    for (const handle of admitted.call.handles) charger.metered.set(handle, reporter)
  }
  const call: AdmittedCall = {
    metered,
    failsFrom: settleSeconds === undefined ? 500 : 400,
    ...(settleSeconds !== undefined && {
      async settle() {
        const settled = await charger.client.settle(ticket, settleSeconds)
        headers = settled.headers
        if (settled.outcome === 'settled') return undefined
        finish('given')
        return answerOf(settled)
      },
    }),
    served() {
      charger.client.served(ticket)
      return headers
    },
    end: finish,
    async release() {
      metered?.stop()
      await charger.client.release(ticket, settleSeconds === undefined)
      finish('given')
      return {}
    },
  }
  return { kind: 'serve', call }
}

/** A call that was charged and broke off. A failure now keeps it open: the charge stands, so the receipt goes along. */
function serveAgain(charger: Charger, key: string, receipt: string): AdmittedCall {
  const finish = begin(charger, key)
  const headers = { 'payment-response': receipt, 'cache-control': 'private' }
  return {
    failsFrom: 500,
    served: () => headers,
    end: finish,
    async release() {
      finish('broken')
      return headers
    },
  }
}

/** Marks a call as being served. What is returned records how it ended; an answer may still come after 'given'. */
function begin(charger: Charger, key: string | undefined): AdmittedCall['end'] {
  if (key === undefined) return () => {}
  const { open, answers } = charger
  const call: OpenCall = { state: 'serving', wake: [] }
  remember(open, key, call)
  return (answer) => {
    if (open.get(key) !== call && typeof answer !== 'object') return
    const kept = typeof answer === 'object' ? ask(charger, () => answers.set(key, answer)) : undefined
    void Promise.resolve(kept).then(() => {
      if (open.get(key) !== call) return
      open.delete(key)
      if (answer === 'broken') remember(open, key, { state: 'broken', wake: [] })
      for (const wake of call.wake) wake()
    })
  }
}

function remember(open: Charger['open'], key: string, call: OpenCall): void {
  open.delete(key)
  open.set(key, call)
  if (open.size <= maxOpenCalls) return
  for (const [oldest, { wake }] of open) {
    open.delete(oldest)
    for (const go of wake) go()
    return
  }
}

/** Waits while the same call is being served. False when that takes too long, or too many wait. */
async function firstEnded({ open, retryWaitMs }: Charger, key: string): Promise<boolean> {
  const first = open.get(key)
  if (first?.state !== 'serving') return true
  if (first.wake.length >= maxWaiters) return false
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), retryWaitMs)
    first.wake.push(() => {
      clearTimeout(timer)
      resolve(true)
    })
  })
}

/** What a store of answers does must not decide whether a call is served. */
async function ask<value>(charger: Charger, work: () => value | Promise<value>): Promise<value | undefined> {
  try {
    return await work()
  } catch (error) {
    charger.onError(error instanceof Error ? error : new Error(String(error)))
    return undefined
  }
}

function inProgress(): KeptAnswer {
  const problem = {
    type: 'https://docs.protocolbanks.com/errors#request-in-progress',
    title: 'This request is still being served.',
    status: 409,
    code: 'request.in_progress',
    hint: 'Repeat the request with the same id.',
  }
  return {
    status: 409,
    headers: [
      ['content-type', problemContentType],
      ['cache-control', 'no-store'],
      ['retry-after', '1'],
    ],
    body: new TextEncoder().encode(JSON.stringify(problem)),
  }
}
