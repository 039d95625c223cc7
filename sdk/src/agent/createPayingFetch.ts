import {
  type Address,
  channelIdOf,
  encodeHeader,
  type Hex,
  isEventStream,
  type PaymentPayload,
  type Pricing,
  payeeProofOf,
  paymentIdentifierKey,
  paymentSignatureHeader,
  type SessionPayload,
  x402Version,
} from '@protocolbanks/stream-protocol'
import type { AgentStore } from './agentStore.ts'
import { type Receipt, type Refusal, readReceipt, readRefusal, toReceipt, voucherRefused, withBody } from './answer.ts'
import { type Call, type FetchInput, readCall } from './call.ts'
import { ChargeDisputedError, PaymentDeclinedError, PaymentRedirectedError, PaymentRefusedError } from './errors.ts'
import type { AgentGrant } from './grant.ts'
import type { Discrepancy, Outcome } from './ledger.ts'
import type { AgentLimits } from './limits.ts'
import { findOffer, type Offer, readPaymentRequired } from './offer.ts'
import { payStream } from './payStream.ts'
import { createPriceBook } from './priceBook.ts'
import { createReceiptProofs, ReceiptForgedError, type ReceiptKeys } from './receiptProofs.ts'
import { maxTries, parseRetryAfter, retryDelayMs, sleep as sleepOnTimer } from './retry.ts'
import { toSigner, type VoucherSigner } from './signer.ts'
import { overAsked, StreamStoppedError } from './streamStopped.ts'
import { createWallet, type WalletHold } from './wallet.ts'

export type PayingFetchOptions = {
  grant: AgentGrant
  /** The session key: its private half, or a signer that has it. */
  sessionKey: Hex | VoucherSigner
  limits?: AgentLimits | undefined
  /**
   * Asked before each payment is signed, within the limits: by a person, or by a rule. A call whose price, pricing, service
   * or payee changes is asked for again. False: PaymentDeclinedError.
   */
  confirm?: ((request: PaymentRequest) => boolean | Promise<boolean>) | undefined
  /** Called with the receipt of each charged call, before its answer is returned. What it throws, the call throws. */
  onReceipt?: ((receipt: Receipt) => void) | undefined
  /**
   * Whose signatures on receipts are taken. By default of whoever publishes keys under the origin that was paid; keys: each
   * receipt has to be signed by one of these. A wrong signature is ReceiptForgedError.
   */
  receiptKeys?: ReceiptKeys | undefined
  /** Told when a payee counts more than this agent's calls explain, within what was signed. Warns on the console by default. */
  onDiscrepancy?: ((found: Discrepancy & { url: string; payee: Address }) => void) | undefined
  /** Where what was signed is remembered across restarts. Without one each process begins by asking the gateway. */
  store?: AgentStore | undefined
  /** Of the token, for amounts as decimal strings. 6, as USDC, by default. */
  decimals?: number | undefined
  /** How long to wait for the head of an answer before the try counts as lost, in milliseconds. 120 s by default. */
  answerTimeoutMs?: number | undefined
  /** What sends the requests; the global `fetch` by default. */
  fetch?: typeof fetch | undefined
  /** Unix time in milliseconds. */
  clock?: (() => number) | undefined
  sleep?: ((ms: number, signal: AbortSignal | undefined) => Promise<void>) | undefined
  /** From 0 up to 1. */
  random?: (() => number) | undefined
  createRequestId?: (() => string) | undefined
}

/** A payment that is about to be signed. */
export type PaymentRequest = {
  url: string
  method: string
  service: string
  payee: Address
  /** Of what is priced by use the most that is charged for this call, or for this segment of a stream. */
  priceAtomic: bigint
  /** How the price comes about, in base units. */
  pricing: Pricing
  /** Which segment of a stream this is for; 1 for every call. */
  segment: number
}

/** A `fetch` that pays, and says what it paid. */
export type PayingFetch = typeof fetch & {
  /** Of the last hundred charged calls, oldest first. */
  receipts(): readonly Receipt[]
  /** What is charged and in flight under the grant, at all payees, as far as this agent knows; base units. */
  spentAtomic(): bigint
  /** What is left of `limits.budget`, with what is in flight taken off; undefined without one. */
  remainingAtomic(): bigint | undefined
  /** Resolves when the store holds what is known now: before a process ends, for one. */
  saved(): Promise<void>
}

const maxReceipts = 100

/** How long concurrent first calls wait for the one that asks for the price. */
const probeWaitMs = 10_000
const maxRedirects = 5
const maxRepricings = 2
/** Sends of one paid call: tries, one resync of the channel, and price changes. */
const maxSends = maxTries + 1 + maxRepricings

/** Refusals of the gateway itself. Other problems are the service's own answers and are returned. */
const refusalCodes = new Set([
  'grant.unknown',
  'grant.revoked',
  'grant.frozen',
  'grant.not_yet_valid',
  'grant.expired',
  'payment.malformed',
  'request.conflict',
  'request.in_progress',
  'limit.per_call',
  'limit.rate',
  'limit.total',
  'limit.period',
  'limit.spend',
  'limit.exposure',
  'credit.refused',
  'voucher.exhausted',
  'price.changed',
  'funds.insufficient',
  'chain.stale',
  'meter.unavailable',
  'database.unavailable',
  'gateway.unavailable',
])

/**
 * A drop-in `fetch` that pays for what it calls, within the grant and the agent's own limits.
 *
 * The first call of a service asks for its price; from then on each call is one request that carries a voucher. Any
 * number may be in flight at once. A lost answer is asked for again under the same request id, which costs nothing.
 * One grant serves one paying fetch: two that spend from it at once take each other's charges for a dispute.
 *
 * Throws, besides what `fetch` throws: LimitExceededError, HostNotAllowedError, PaymentDeclinedError (nothing was signed),
 * StoredStateError (nothing was sent), PaymentRefusedError, OfferUnmatchedError, PaymentRedirectedError, UnsupportedUrlError, ChargeDisputedError,
 * ReceiptForgedError.
 * The body of a metered stream ends with StreamStoppedError, or one of these, when it is not paid any further.
 *
 * @example
 * const payingFetch = createPayingFetch({ grant, sessionKey, limits: { maxPerCall: '0.05', maxPerHour: '2' } })
 * const answer = await payingFetch('https://api.example.com/weather?city=Oslo')
 */
export function createPayingFetch(options: PayingFetchOptions): PayingFetch {
  const { grant, onReceipt, confirm } = options
  const decimals = options.decimals ?? 6
  const answerTimeoutMs = options.answerTimeoutMs ?? 120_000
  const clock = options.clock ?? Date.now
  const sleep = options.sleep ?? sleepOnTimer
  const random = options.random ?? Math.random
  const createRequestId = options.createRequestId ?? (() => `req_${crypto.randomUUID().replaceAll('-', '')}`)
  const onDiscrepancy =
    options.onDiscrepancy ??
    (({ url, payee, chargedAtomic, explainedAtomic }) =>
      console.warn(`${url}: ${payee} counts ${chargedAtomic} base units, our calls explain ${explainedAtomic}.`))
  const wallet = createWallet({ grant, limits: options.limits ?? {}, decimals, store: options.store, clock })
  const signer = toSigner(options.sessionKey, grant)
  const baseFetch: typeof fetch = options.fetch ?? ((input, init) => fetch(input, init))

  const prove = createReceiptProofs({ keys: options.receiptKeys ?? 'origin', fetch: baseFetch, clock })
  /** Payees of the grant whose receipts were not theirs. */
  const forgers = new Set<Address>()
  const prices = createPriceBook()
  /** Calls that are asking for a price, by origin or path. */
  const probes = new Map<string, Promise<void>>()
  /** At most one per payee of the grant. */
  const proofs = new Map<Address, Hex[]>()
  const receipts: Receipt[] = []

  async function payingFetch(input: FetchInput, init?: RequestInit): Promise<Response> {
    let call = await readCall(input, init)
    for (let hops = 0; ; hops++) {
      const sent = await send(call)
      if (!sent.paid) return sent.response
      const target = redirectOf(call, sent.response)
      if (!target) return sent.response
      if (hops === maxRedirects) throw new TypeError(`${call.url.origin} redirected more than ${maxRedirects} times.`)
      await discard(sent.response)
      // Elsewhere nothing of ours goes along: neither a payment nor credentials.
      if (target.url.origin !== call.url.origin) return transmit(withoutCredentials(target), 'follow')
      call = target
    }
  }

  return Object.assign(payingFetch, {
    receipts: () => [...receipts],
    spentAtomic: wallet.spent,
    remainingAtomic: wallet.remaining,
    saved: wallet.saved,
  })

  /** One call at one URL: paid when its price is known or asked for. */
  async function send(call: Call): Promise<{ response: Response; paid: boolean }> {
    const found = await findPrice(call)
    // Not by instanceof: another fetch has another Response.
    if (!('accepted' in found)) return { response: found, paid: false }
    return { response: await pay(call, found), paid: true }
  }

  /** The price of the call, or the answer of a call that needed none. Concurrent first calls share one question. */
  async function findPrice(call: Call): Promise<Offer | Response> {
    for (let waits = 0; waits < 3; waits++) {
      const known = prices.find(call)
      if (known === 'free') break
      if (known) return known
      // Nobody knows an origin's scopes before its first answer: until then all its paths wait for one.
      const key = prices.knows(call.url.origin) ? call.url.origin + call.url.pathname : call.url.origin
      const probe = probes.get(key)
      if (probe) {
        await atMost(probe, probeWaitMs, call.signal)
        continue
      }
      const asked = askPrice(call)
      const settled = asked.then(
        () => undefined,
        () => undefined,
      )
      probes.set(key, settled)
      try {
        return await asked
      } finally {
        if (probes.get(key) === settled) probes.delete(key)
      }
    }
    return askPrice(call)
  }

  /** Sends the call without a payment, and learns the price when one is asked for. */
  async function askPrice(call: Call): Promise<Offer | Response> {
    if (call.replayable) {
      const response = await sendUnpaid(call)
      const offer = await learnOffer(call, response)
      if (!offer && response.ok) prices.learnFree(call.url)
      return offer ?? response
    }
    // A stream can be sent only once, so the price is asked for without it. HEAD is safe on a free service.
    const head = { ...call, method: 'HEAD', headers: new Headers(call.headers), body: undefined, replayable: true }
    for (const name of ['content-type', 'content-length', 'content-encoding']) head.headers.delete(name)
    const answer = await sendUnpaid(head)
    const offer = await learnOffer(call, answer)
    if (offer) return offer
    await discard(answer)
    return transmit(call, call.redirect)
  }

  async function learnOffer(call: Call, response: Response): Promise<Offer | undefined> {
    const required = response.status === 402 ? readPaymentRequired(response) : undefined
    if (!required) return undefined
    await discard(response)
    if (response.redirected) throw new PaymentRedirectedError({ from: call.url.href, to: response.url })
    const offer = findOffer(required, grant)
    prices.learn(call.url, offer)
    return offer
  }

  /** Without a request id only a safe method may be repeated after a network error. */
  async function sendUnpaid(call: Call): Promise<Response> {
    for (let tries = 1; ; tries++) {
      try {
        return await transmit(call, call.redirect)
      } catch (error) {
        const safe = call.method === 'GET' || call.method === 'HEAD'
        if (!safe || call.signal?.aborted || tries === maxTries) throw error
        await sleep(retryDelayMs(tries, null, clock(), random()) ?? 0, call.signal)
      }
    }
  }

  /** Sends the call with a voucher until it has an answer that is final. */
  async function pay(call: Call, offer: Offer): Promise<Response> {
    const requestId = createRequestId()
    if (forgers.has(offer.payee)) {
      throw new ReceiptForgedError({ url: call.url.href, payee: offer.payee, receipt: undefined })
    }
    await wallet.open()
    let hold = await holdFor(call, offer, requestId, undefined)
    /** Sends that failed for a passing reason. */
    let failures = 0
    let resyncs = 0
    let repricings = 0
    try {
      for (let sends = 1; sends <= maxSends; sends++) {
        call.signal?.throwIfAborted()
        hold.sent = true
        let response: Response
        try {
          response = await transmit(withPayment(call, hold.header), call.redirect === 'error' ? 'error' : 'manual')
        } catch (error) {
          failures++
          if (!call.replayable || call.signal?.aborted || failures === maxTries) throw error
          await sleep(retryDelayMs(failures, null, clock(), random()) ?? 0, call.signal)
          continue
        }
        if (response.type === 'opaqueredirect' && call.redirect === 'follow') {
          throw new PaymentRedirectedError({ from: call.url.href, to: undefined })
        }

        const refusal = await readRefusal(response, grant.grantId)
        if (!refusal) return await accept(call, hold, requestId, response)

        if (passing(refusal)) {
          failures++
          const delayMs = retryDelayMs(failures, response.headers.get('retry-after'), clock(), random())
          if (delayMs !== undefined && call.replayable && failures < maxTries) {
            await discard(response)
            await sleep(delayMs, call.signal)
            continue
          }
        }

        const changed = refusal.required && relearn(call, refusal.required)
        if (changed && refusal.code === 'price.changed' && repricings < maxRepricings && call.replayable) {
          await discard(response)
          close(call, hold, { kind: 'released', claim: refusal.claim })
          repricings++
          hold = await holdFor(call, changed, requestId, hold)
          continue
        }
        if (refusal.code === 'voucher.exhausted' && refusal.claim && resyncs === 0 && call.replayable) {
          await discard(response)
          close(call, hold, { kind: 'released', claim: refusal.claim })
          resyncs++
          hold = await holdFor(call, hold.offer, requestId, hold)
          continue
        }
        return await refuse(call, hold, requestId, refusal, response)
      }
      // Unreachable: each reason to go on is counted above, and together they are fewer than maxSends.
      throw new TypeError(`${call.url.href} was sent ${maxSends} times without an answer.`)
    } finally {
      // A call that ended without a verdict was perhaps charged, if it left at all.
      if (hold.open) close(call, hold, hold.sent ? { kind: 'unknown' } : { kind: 'released' })
    }
  }

  /** Room in the wallet, and the header that pays with it. Gives the room back when nobody signs. */
  async function holdFor(call: Call, offer: Offer, requestId: string, before: Hold | undefined): Promise<Hold> {
    const reservation = wallet.reserve(call.url, offer.payee, offer.price)
    if (!reservation) throw disputed(call, offer.payee)
    try {
      if (!before || isOtherPayment(before.offer, offer)) await askToPay(call, offer, 1)
      const header = await sign(offer, reservation.cumulativeAmount, requestId)
      return { offer, reservation, header, sent: false, open: true }
    } catch (error) {
      wallet.conclude(reservation, { kind: 'released' })
      throw error
    }
  }

  /** @throws PaymentDeclinedError */
  async function askToPay(call: Call, offer: Offer, segment: number): Promise<void> {
    if (!confirm) return
    const { payee, service, price: priceAtomic, pricing } = offer
    const url = call.url.href
    if (await confirm({ url, method: call.method, service, payee, priceAtomic, pricing, segment })) return
    throw new PaymentDeclinedError({ url, payee, priceAtomic, decimals })
  }

  /** PAYMENT-SIGNATURE, once the store has what it promises. */
  async function sign(
    { accepted, payee }: Offer,
    cumulativeAmount: bigint,
    requestId: string,
    extensions: Record<string, unknown> = {},
  ): Promise<string> {
    const { grantId, payees } = grant
    const signature = await signer.sign({ grantId, payee, cumulativeAmount })
    const payload: SessionPayload = { grantId, cumulativeAmount: cumulativeAmount.toString(), signature }
    if (payees.length > 1) payload.payeeProof = proofOf(payee)
    const payment: PaymentPayload = {
      x402Version,
      accepted,
      payload,
      extensions: { [paymentIdentifierKey]: { info: { id: requestId } }, ...extensions },
    }
    await wallet.saved()
    return encodeHeader(payment)
  }

  /** An earlier call found it out. */
  function disputed({ url }: Call, payee: Address): ChargeDisputedError {
    return new ChargeDisputedError({ url: url.href, payee, dispute: undefined, decimals })
  }

  /** A proof takes the hashes of all payees: each is computed once. */
  function proofOf(payee: Address): Hex[] {
    const proof = proofs.get(payee) ?? payeeProofOf(grant.payees, payee)
    proofs.set(payee, proof)
    return proof
  }

  /**
   * An answer to return, with its receipt taken. An error without one was not charged. A good answer without one
   * perhaps was: a browser hides the header unless the service exposes it.
   */
  async function accept(call: Call, hold: Hold, requestId: string, response: Response): Promise<Response> {
    const { payee, price, pricing } = hold.offer
    const expected = { grantId: grant.grantId, requestId, payee, price, url: call.url.href }
    const receipt = readReceipt(response, expected)
    if (
      pricing.kind !== 'call' &&
      response.ok &&
      response.body &&
      isEventStream(response.headers.get('content-type'))
    ) {
      const isCharged = receipt === undefined || receipt.amountAtomic <= price
      // What it cost is known at its end.
      if (isCharged) return payWhileRead(call, hold, expected, { response, ofHead: receipt })
    }
    if (!receipt) {
      close(call, hold, { kind: response.status >= 400 ? 'released' : 'unknown' })
      return response
    }
    try {
      conclude(call, hold, receipt, pricing.kind === 'call' ? 'call' : 'metered')
      await assertProven(call.url, receipt)
    } catch (error) {
      void discard(response)
      throw error
    }
    return response
  }

  /** @throws ReceiptForgedError */
  async function assertProven(url: URL, { payee, paymentResponse: receipt }: Receipt): Promise<void> {
    if ((await prove(url, receipt)) !== 'forged') return
    forgers.add(payee)
    throw new ReceiptForgedError({ url: url.href, payee, receipt })
  }

  /** Takes a receipt. @throws ChargeDisputedError, what `onReceipt` throws */
  function conclude(call: Call, hold: Hold, receipt: Receipt, of: 'call' | 'metered' | 'stream'): void {
    const { amountAtomic: amount, chargedAtomic: charged, authorizedAtomic: authorized } = receipt
    close(call, hold, { kind: 'charged', of, amount, claim: { charged, authorized } })
    receipts.push(receipt)
    if (receipts.length > maxReceipts) receipts.shift()
    onReceipt?.(receipt)
  }

  /** A metered stream, as it is: its reader pays for one segment after the other, and takes the receipt at its end. */
  function payWhileRead(
    call: Call,
    hold: Hold,
    expected: ExpectedReceipt,
    { response, ofHead }: { response: Response; ofHead: Receipt | undefined },
  ): Response {
    const { offer } = hold
    const { requestId } = expected
    let segments = 1
    let isOver = false
    /** What is reserved for all of it; `pay` leaves it to the stream. */
    const whole: Hold = { ...hold }
    hold.open = false
    if (ofHead) {
      const { amountAtomic, chargedAtomic: charged, authorizedAtomic: authorized } = ofHead
      wallet.meet(offer.payee, amountAtomic, { charged, authorized })
    }
    const body = payStream(response.body as ReadableStream<Uint8Array>, {
      url: call.url.href,
      channelId: channelIdOf(grant.grantId, offer.payee),
      silenceMs: answerTimeoutMs,
      async nextVoucher(requiredAtomic) {
        const reservation = wallet.extend(call.url, whole.reservation, offer.price)
        if (!reservation) throw disputed(call, offer.payee)
        const { cumulativeAmount } = reservation
        try {
          if (requiredAtomic > cumulativeAmount) throw overAsked(call.url.href, requiredAtomic, cumulativeAmount)
          await askToPay(call, offer, segments + 1)
          const header = await sign(offer, cumulativeAmount, requestId, { session: { voucherFor: requestId } })
          // Its reader left meanwhile, and what was reserved before is concluded.
          if (isOver) throw new Error('The stream is over.')
          whole.reservation = reservation
          segments++
          return { header, cumulativeAmount }
        } catch (error) {
          wallet.giveBack(reservation, offer.price)
          throw error
        }
      },
      sendVoucher: (voucher) => sendVoucher(call, voucher.header),
      readReceipt: (data) => toReceipt(data, expected),
      end(receipt, how) {
        isOver = true
        const told = receipt ?? (how === 'complete' && segments === 1 ? ofHead : undefined)
        if (!told) return close(call, whole, { kind: 'unknown' })
        conclude(call, whole, told, 'stream')
        // Its bytes are with the reader already: the next call is told.
        assertProven(call.url, told).catch(() => undefined)
      },
    })
    return withBody(response, body)
  }

  /** Out of band: to the same URL, which charges nothing for it. @throws StreamStoppedError, what `fetch` throws */
  async function sendVoucher(call: Call, header: string): Promise<void> {
    const headers = new Headers(call.headers)
    for (const name of ['content-type', 'content-length', 'content-encoding']) headers.delete(name)
    const base = { ...withPayment({ ...call, headers }, header), body: undefined, replayable: true }
    // Some frameworks have no HEAD for a route of another method.
    const methods = [...new Set(['HEAD', call.method])]
    for (let tries = 1; ; tries++) {
      try {
        const response = await transmit({ ...base, method: methods[0] ?? 'HEAD' }, 'manual')
        await discard(response)
        if (response.ok) return
        if (methods.length > 1 && [404, 405, 501].includes(response.status)) methods.shift()
        else if (response.status < 500 || tries === maxTries) throw voucherRefused(call.url.href, response)
      } catch (error) {
        if (error instanceof StreamStoppedError || call.signal?.aborted || tries === maxTries) throw error
      }
      await sleep(retryDelayMs(tries, null, clock(), random()) ?? 0, call.signal)
    }
  }

  /** Throws what the gateway refused; returns a problem of the service itself as the answer it is. */
  async function refuse(
    call: Call,
    hold: Hold,
    requestId: string,
    refusal: Refusal,
    response: Response,
  ): Promise<Response> {
    if (refusal.status !== 402 && !refusalCodes.has(refusal.code)) {
      return accept(call, hold, requestId, response)
    }
    const unknown = refusal.code === 'request.in_progress'
    close(call, hold, unknown ? { kind: 'unknown' } : { kind: 'released', claim: refusal.claim })
    void discard(response)
    const retryAfter = response.headers.get('retry-after')
    throw new PaymentRefusedError({
      url: call.url.href,
      refusal,
      retryable: passing(refusal) || refusal.status === 429,
      retryAfterSeconds: retryAfter === null ? undefined : Math.ceil(parseRetryAfter(retryAfter, clock()) / 1000),
    })
  }

  /** Takes over the price of a refusal, if it still offers one that we can pay. */
  function relearn(call: Call, required: NonNullable<Refusal['required']>): Offer | undefined {
    try {
      const offer = findOffer(required, grant)
      prices.learnChanged(call, offer)
      return offer
    } catch {
      // The refusal itself says more than that its offers do not fit.
      return undefined
    }
  }

  /** @throws ChargeDisputedError */
  function close(call: Call, hold: Hold, outcome: Outcome): void {
    hold.open = false
    const { dispute, discrepancy } = wallet.conclude(hold.reservation, outcome)
    // The next payment waits for what is written; without one a restart takes this call for an open one.
    wallet.saved().catch(() => undefined)
    const { payee } = hold.offer
    if (discrepancy) onDiscrepancy({ ...discrepancy, url: call.url.href, payee })
    if (dispute) throw new ChargeDisputedError({ url: call.url.href, payee, dispute, decimals })
  }

  /** One `fetch`, given up when no answer has begun in time. */
  async function transmit(call: Call, redirect: Call['redirect']): Promise<Response> {
    const { url, method, headers, body, signal, rest } = call
    const timeout = new AbortController()
    const timer = setTimeout(() => {
      timeout.abort(new DOMException(`${url.host} did not answer within ${answerTimeoutMs} ms.`, 'TimeoutError'))
    }, answerTimeoutMs)
    const init: RequestInit = {
      ...rest,
      method,
      headers,
      redirect,
      signal: signal ? AbortSignal.any([signal, timeout.signal]) : timeout.signal,
    }
    if (body !== undefined) init.body = body
    if (!call.replayable) Object.assign(init, { duplex: 'half' })
    try {
      return await baseFetch(url.href, init)
    } finally {
      clearTimeout(timer)
    }
  }
}

type ExpectedReceipt = Parameters<typeof toReceipt>[1]

/** A reserved and signed payment. */
type Hold = { offer: Offer; reservation: WalletHold; header: string; sent: boolean; open: boolean }

/** Whether it is another payment to whoever confirmed the first. */
function isOtherPayment(a: Offer, b: Offer): boolean {
  const said = ({ price, payee, service, pricing }: Offer) =>
    JSON.stringify([price, payee, service, pricing], (_, value) => (typeof value === 'bigint' ? `${value}` : value))
  return said(a) !== said(b)
}

/** Whether the same request can succeed in a moment. */
function passing({ status, code, problem }: Refusal): boolean {
  if (status === 409) return code === 'request.in_progress'
  return [502, 503, 504].includes(status) && problem !== undefined && problem.retryable !== false
}

function withPayment(call: Call, header: string): Call {
  const headers = new Headers(call.headers)
  headers.set(paymentSignatureHeader, header)
  return { ...call, headers }
}

/** Where a paid call is to go on, by the rules of the Fetch standard; undefined when the answer is final. */
function redirectOf(call: Call, response: Response): Call | undefined {
  const location = response.headers.get('location')
  if (call.redirect !== 'follow' || !location || ![301, 302, 303, 307, 308].includes(response.status)) return undefined
  const url = new URL(location, call.url)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new PaymentRedirectedError({ from: call.url.href, to: url.href })
  }
  const turnsToGet =
    (response.status === 303 && call.method !== 'GET' && call.method !== 'HEAD') ||
    (response.status <= 302 && call.method === 'POST')
  if (turnsToGet) {
    const headers = new Headers(call.headers)
    for (const name of ['content-type', 'content-length', 'content-encoding', 'content-language']) headers.delete(name)
    return { ...call, url, method: 'GET', headers, body: undefined, replayable: true }
  }
  if (!call.replayable) throw new TypeError(`${call.url.href} redirected a stream, which cannot be sent again.`)
  return { ...call, url }
}

/** Frees the connection of an answer that nobody will read. */
async function discard(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined)
}

function withoutCredentials(call: Call): Call {
  const headers = new Headers(call.headers)
  for (const name of ['authorization', 'cookie', 'proxy-authorization', paymentSignatureHeader]) headers.delete(name)
  return { ...call, headers }
}

/** Waits for a promise that never rejects, no longer than `ms`. */
async function atMost(promise: Promise<void>, ms: number, signal: AbortSignal | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  let onAbort: (() => void) | undefined
  const late = new Promise<void>((resolve, reject) => {
    timer = setTimeout(resolve, ms)
    onAbort = () => reject(signal?.reason)
    if (signal?.aborted) onAbort()
    else signal?.addEventListener('abort', onAbort, { once: true })
  })
  try {
    await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
    if (onAbort) signal?.removeEventListener('abort', onAbort)
  }
}
