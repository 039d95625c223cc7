import { holdOf } from '@protocolbanks/stream-protocol'
import { formatTraceparent } from '@protocolbanks/stream-runtime'
import type { Context, MiddlewareHandler } from 'hono'
import type { Answer } from '../answers/answerStore.ts'
import { problem } from '../problem.ts'
import type { Service } from '../services/serviceTable.ts'
import type { EndedCall } from '../tracing/logCall.ts'
import type { RequestTrace } from '../tracing/traceRequests.ts'
import { answerAtHand } from './answerAtHand.ts'
import { answerByUse, isMeterable } from './answerByUse.ts'
import { maxBufferedBytes } from './bufferedBytes.ts'
import { digestOf } from './digestOf.ts'
import { fingerprintOf } from './fingerprint.ts'
import { headerOf } from './headerOf.ts'
import type { MeteredOutcome } from './meterStream.ts'
import type { PaymentGate, ServedCharge, Settled } from './paymentGate.ts'
import { priceOf } from './priceOf.ts'
import { readStart } from './readStart.ts'

export type PaymentMiddlewareOptions = {
  gate: PaymentGate
  /** The service of a request; undefined lets it through free. What follows finds it as `service` in the context. */
  serviceOf(path: string): Service | undefined
  /** Looks longer for what `serviceOf` does not know. */
  findService?: ((path: string) => Promise<Service | undefined>) | undefined
  /** Origin under which clients reach this process, e.g. `https://api.example`. */
  publicUrl: string
  /** Where a request came from, as usage events name it. */
  clientOf?: ((c: Context) => string | undefined) | undefined
  /** Called with the refusal code or `served`, `replayed`, `released`, `broken`. */
  onOutcome?(outcome: string, call: EndedCall): void
  /** How the charge of a call that is priced by use ended. */
  onMetered?: ((outcome: MeteredOutcome, call: EndedCall) => void) | undefined
}

/** 402 payment in front of a Hono route. A 5xx or a throw of the route costs nobody anything. */
export function paymentMiddleware({
  gate,
  serviceOf,
  findService,
  publicUrl,
  clientOf,
  onOutcome,
  onMetered,
}: PaymentMiddlewareOptions): MiddlewareHandler {
  return async (c, next) => {
    const startedAt = performance.now()
    const found = serviceOf(c.req.path) ?? (await findService?.(c.req.path))
    if (!found) return next()
    const service = priceOf(found, c.req.method, c.req.url)
    if (!service) return ambiguous(c.req.path)
    c.set('service', service)

    const trace: RequestTrace | undefined = c.get('trace')
    const call: EndedCall = { trace, service, ticket: undefined }
    const charging = trace?.child('charge')
    const { method } = c.req
    const url = publicUrl + c.req.url.slice(c.req.url.indexOf('/', 8))
    const body = await bufferBody(c)
    const verdict = await gate.authorize({
      service,
      amount: service.price,
      hold: holdFor(service, body),
      url,
      payment: headerOf(c, 'payment-signature'),
      fingerprint: () => fingerprintOf(method, url, body),
      trace: trace?.context,
      client: clientOf?.(c),
      settles: true,
      header: (name) => headerOf(c, name),
      digest: () => digestOf(body),
    })
    charging?.end(verdict.kind === 'refused' ? verdict.code : undefined)
    if (verdict.kind === 'refused') {
      onOutcome?.(verdict.code, call)
      return verdict.response
    }
    if (verdict.kind === 'replay') {
      onOutcome?.('replayed', call)
      return replay(verdict.answer, verdict.receipt)
    }

    const { charge } = verdict
    call.ticket = charge.ticket
    const serving = trace?.child('serve')
    const calledAt = performance.now()
    try {
      await next()
      // Hono turns a throw of the route into a 500 and keeps the error here.
      // What has not been paid yet is paid for an answer that is of use alone, as x402's servers do.
      if (c.error || c.res.status >= (charge.settle ? 400 : 500)) {
        const isReleased = await charge.release()
        // The client has to know that it was charged after all; a retry with the same id is free.
        if (!isReleased) c.header('payment-response', charge.receipt)
        onOutcome?.(isReleased ? 'released' : 'broken', call)
        return
      }
      const servedAt = performance.now()
      const settled: Settled = charge.settle ? await charge.settle() : { ok: true, receipt: charge.receipt }
      if (!settled.ok) {
        await c.res.body?.cancel()
        // Hono would add the headers of the answer that is not given.
        c.res = undefined
        c.res = settled.response
        onOutcome?.(settled.code, call)
        return
      }
      // Of a 2xx alone, as the scheme has it.
      const mppReceipt = c.res.status < 300 ? settled.mppReceipt : undefined
      const upstreamMs: number = c.get('upstreamMs') ?? servedAt - calledAt
      const toOwnHeaders = (receipt: string) => ({
        'payment-response': receipt,
        ...(mppReceipt !== undefined && { 'payment-receipt': mppReceipt }),
        'cache-control': 'private',
        'server-timing': `gateway;dur=${(performance.now() - startedAt - upstreamMs).toFixed(3)}`,
        ...(trace && { traceresponse: formatTraceparent(trace.context) }),
      })
      const { pricing } = service
      const answer =
        pricing !== undefined && pricing.kind !== 'call' && isMeterable(charge)
          ? await answerByUse(c.res, charge, {
              service,
              pricing,
              requestBytes: lengthOf(body),
              startedAtMs: calledAt,
              now: () => performance.now(),
              onEnd: (outcome) => onMetered?.(outcome, call),
              toOwnHeaders,
            })
          : await answerWith(c.res, charge, () => toOwnHeaders(settled.receipt))
      c.set('traceTold', trace !== undefined)
      // As above.
      c.res = undefined
      c.res = answer
      onOutcome?.('served', call)
    } catch (error) {
      onOutcome?.((await charge.release()) ? 'released' : 'broken', call)
      throw error
    } finally {
      serving?.end()
    }
  }
}

function ambiguous(path: string): Response {
  return problem(400, 'path.ambiguous', 'The request can be read in several ways, which have different prices.', {
    detail: `Path: ${path.slice(0, 200)}`,
    hint: 'Write it without encoded slashes, dots, semicolons and repeated parameters.',
  })
}

/** What a request holds; undefined: the whole price, as every call of a fixed price does. */
function holdFor({ pricing, price }: Service, body: Uint8Array | { length: string } | undefined): bigint | undefined {
  if (pricing === undefined || pricing.kind === 'call') return undefined
  return holdOf(pricing, price, { body: body instanceof Uint8Array ? body : undefined })
}

function lengthOf(body: Uint8Array | { length: string } | undefined): number {
  return Number(body?.length ?? 0) || 0
}

/** Small bodies of known length are read, others are left to stream and count by their length. */
export async function bufferBody(c: Context): Promise<Uint8Array | { length: string } | undefined> {
  const length = headerOf(c, 'content-length')
  if (length === undefined) return headerOf(c, 'transfer-encoding') === undefined ? undefined : { length: 'unknown' }
  if (Number(length) > maxBufferedBytes) return { length }
  return new Uint8Array(await c.req.arrayBuffer())
}

/** The first answer, again. */
export function replay({ status, headers, body }: Answer, receipt: string): Response {
  return new Response(body, {
    status,
    headers: [...headers, ['payment-response', receipt], ['cache-control', 'private']],
  })
}

/** Keeps a small answer for a retry; another one streams through, and how it ends decides. */
async function answerWith(
  response: Response,
  charge: ServedCharge,
  toOwnHeaders: () => Record<string, string>,
): Promise<Response> {
  const { status } = response
  const atHand = answerAtHand(response)
  if (atHand) {
    const { body, headers } = atHand
    const isKept = body === null || body.length <= maxBufferedBytes || isJson(headers['content-type'])
    charge.served(isKept ? { status, headers: Object.entries(headers), body } : undefined)
    return new Response(body, { status, headers: { ...headers, ...toOwnHeaders() } })
  }
  const headers = [...response.headers] as [string, string][]
  const body = await bodyFor(response, { status, headers }, charge)
  const answer = new Response(body, { status, headers })
  for (const [name, value] of Object.entries(toOwnHeaders())) answer.headers.set(name, value)
  return answer
}

async function bodyFor(
  response: Response,
  head: Pick<Answer, 'status' | 'headers'>,
  charge: ServedCharge,
): Promise<ConstructorParameters<typeof Response>[0]> {
  const { body: stream, headers } = response
  if (stream !== null && !isSmall(headers)) return passThrough(stream, head, charge)
  // What does not say its length may be long all the same.
  const start =
    stream !== null && !headers.has('content-length') ? await readStart(stream, maxBufferedBytes) : undefined
  if (start && 'stream' in start) return passThrough(start.stream, head, charge)
  // As bytes: not everything small is text.
  const body = start?.whole ?? (stream === null ? null : new Uint8Array(await response.arrayBuffer()))
  charge.served({ ...head, body })
  return body
}

/** JSON is complete before it is of use, so nobody waits longer when it is read whole. */
function isSmall(headers: Headers): boolean {
  const length = headers.get('content-length')
  return length === null ? isJson(headers.get('content-type')) : Number(length) <= maxBufferedBytes
}

function isJson(contentType: string | null | undefined): boolean {
  return contentType?.startsWith('application/json') === true
}

/**
 * Passes a stream through untouched, with the reader's back-pressure, and keeps a copy while it is small.
 * It ends or the client leaves: served. It breaks: a retry with the same id is free.
 */
function passThrough(
  stream: ReadableStream<Uint8Array>,
  head: Pick<Answer, 'status' | 'headers'>,
  charge: Pick<ServedCharge, 'served' | 'broken'>,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader()
  const kept: Uint8Array[] = []
  let size = 0
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        if (done) {
          charge.served(size <= maxBufferedBytes ? { ...head, body: Uint8Array.from(Buffer.concat(kept)) } : undefined)
          return controller.close()
        }
        size += value.byteLength
        if (size <= maxBufferedBytes) kept.push(value)
        else kept.length = 0
        controller.enqueue(value)
      } catch (error) {
        charge.broken()
        controller.error(error)
      }
    },
    async cancel(reason) {
      charge.served(undefined)
      await reader.cancel(reason)
    },
  })
}
