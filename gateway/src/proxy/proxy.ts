import { Readable } from 'node:stream'
import { formatTraceparent } from '@protocolbanks/stream-runtime'
import type { Context, Handler } from 'hono'
import { type Dispatcher, errors, request } from 'undici'
import { isCredential } from '../mpp/readCredential.ts'
import { NotPublicError } from '../network/publicLookup.ts'
import { maxBufferedBytes } from '../payment/bufferedBytes.ts'
import { headersOf } from '../payment/headersOf.ts'
import { bufferBody } from '../payment/paymentMiddleware.ts'
import { problem } from '../problem.ts'
import type { Service } from '../services/serviceTable.ts'
import type { RequestTrace } from '../tracing/traceRequests.ts'

export type ProxyOptions = {
  /** Whose connections reach a service's upstream; see `createUpstreamGuard`. */
  dispatcherOf(service: Service): Dispatcher
}

/** RFC 9110 section 7.6.1, and what concerns this hop alone. The payment stays here: it is not the upstream's. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'expect',
  'payment-signature',
  'payment-authorization',
])

/**
 * Reverse proxy in front of a merchant's API: `<prefix>/rest?query` becomes `<upstream>/rest?query`. It comes after
 * `paymentMiddleware` and takes the service from there: what was not asked to pay is not served. Bodies stream both ways; a
 * small answer is read whole first, so that an upstream which dies half-way is a 502 and costs nobody anything. Answers 404
 * `service.unknown`, 502 `upstream.failed` or `upstream.refused`, or 504 `upstream.timeout`. Redirects are the client's to follow.
 */
export function createProxy({ dispatcherOf }: ProxyOptions): Handler {
  return async (c) => {
    const service: Service | undefined = c.get('service')
    if (service?.upstream === undefined) {
      return problem(404, 'service.unknown', 'No service is served at this path.', { detail: `Path: ${c.req.path}` })
    }
    const startedAt = performance.now()
    try {
      const upstream = await request(targetOf(service, service.upstream, c.req.url), {
        method: c.req.method as Dispatcher.HttpMethod,
        headers: forwardHeaders(c, service),
        body: await forwardBody(c),
        dispatcher: dispatcherOf(service),
        headersTimeout: service.upstreamTimeoutMs,
        bodyTimeout: service.upstreamTimeoutMs,
      })
      const headers = answerHeaders(upstream.headers)
      const length = upstream.headers['content-length']
      const hasBody = ![204, 205, 304].includes(upstream.statusCode) && c.req.method !== 'HEAD'
      const isSmall = length !== undefined && Number(length) <= maxBufferedBytes
      const body = !hasBody
        ? null
        : isSmall
          ? new Uint8Array(await upstream.body.arrayBuffer())
          : (Readable.toWeb(upstream.body) as ReadableStream)
      if (!hasBody) await upstream.body.dump()
      c.set('upstreamMs', performance.now() - startedAt)
      return new Response(body, { status: upstream.statusCode, headers })
    } catch (error) {
      c.set('upstreamMs', performance.now() - startedAt)
      return upstreamProblem(service, error)
    }
  }
}

/** The prefix is dropped by its segments: in the request its letters may be written with escapes. */
function targetOf({ pathPrefix }: Service, upstream: string, requestUrl: string): string {
  let at = requestUrl.indexOf('/', 8)
  if (requestUrl.startsWith(pathPrefix, at)) at += pathPrefix.length
  else for (const _ of pathPrefix.matchAll(/\//g)) at = endOfSegment(requestUrl, at + 1)
  return upstream.replace(/\/$/, '') + requestUrl.slice(at)
}

function endOfSegment(url: string, from: number): number {
  const length = url.slice(from).search(/[/?#]/)
  return length === -1 ? url.length : from + length
}

function forwardHeaders(c: Context, { pricing }: Service): Record<string, string> {
  const headers: Record<string, string> = {}
  const received = headersOf(c)
  const { connection = '', host = '' } = received
  const named = connection === '' || connection === 'keep-alive' ? nothingNamed : namesOf(connection)
  for (const name of Object.keys(received)) {
    const value = received[name]
    if (value !== undefined && !hopByHop.has(name) && !named.has(name)) headers[name] = value
  }
  // What else it carries is the upstream's.
  if (isCredential(headers.authorization)) delete headers.authorization
  headers['x-forwarded-host'] = host
  const trace: RequestTrace | undefined = c.get('trace')
  if (trace) headers.traceparent = formatTraceparent(trace.context)
  headers['x-forwarded-proto'] = c.req.url.startsWith('https:') ? 'https' : 'http'
  // What a model used is read from its answer.
  if (pricing?.kind === 'token') headers['accept-encoding'] = 'identity'
  return headers
}

const nothingNamed: ReadonlySet<string> = new Set()

function namesOf(connection: string): ReadonlySet<string> {
  return new Set(connection.toLowerCase().split(/\s*,\s*/))
}

async function forwardBody(c: Context): Promise<Uint8Array | Readable | null> {
  const body = await bufferBody(c)
  if (body === undefined) return null
  if (body instanceof Uint8Array) return body
  const stream = c.req.raw.body
  return stream && Readable.fromWeb(stream as Parameters<typeof Readable.fromWeb>[0])
}

function answerHeaders(upstream: Record<string, string | string[] | undefined>): [string, string][] {
  const headers: [string, string][] = []
  for (const [name, value] of Object.entries(upstream)) {
    if (hopByHop.has(name) || value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) headers.push([name, one])
  }
  return headers
}

function upstreamProblem(service: Service, error: unknown): Response {
  if (error instanceof NotPublicError) {
    return problem(502, 'upstream.refused', 'The gateway does not connect to where the service is.', {
      detail: `Service: ${service.name}. Its upstream is not on the public internet.`,
      hint: 'Nothing was charged. Tell the merchant.',
    })
  }
  const isTimeout = error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError
  const options = {
    detail: `Service: ${service.name}`,
    hint: 'Repeat the request with the same id: it is not charged twice.',
    headers: { 'retry-after': '1' },
  }
  return isTimeout
    ? problem(504, 'upstream.timeout', `The service did not answer within ${service.upstreamTimeoutMs} ms.`, options)
    : problem(502, 'upstream.failed', 'The service could not be reached or broke off.', options)
}
