import { BaseError } from '@protocolbanks/stream-protocol'

export type FetchInput = Parameters<typeof fetch>[0]

/** The arguments of one `fetch`, taken apart once, so that every try sends the same. */
export type Call = {
  url: URL
  method: string
  headers: Headers
  body: RequestInit['body'] | undefined
  /** Whether the body can be sent again. A stream cannot. */
  replayable: boolean
  signal: AbortSignal | undefined
  redirect: RequestRedirect
  /** Whatever else the caller gave to `fetch`. */
  rest: RequestInit
}

type RequestRedirect = 'follow' | 'error' | 'manual'

/** A `Request` keeps only a stream of its body: up to here it is read into memory, so that it can be sent again. */
const maxBufferedBytes = 1024 * 1024

/**
 * Reads what `fetch(input, init)` would send, by the rules of the Fetch standard.
 *
 * @throws UnsupportedUrlError, TypeError as `fetch` would
 */
export async function readCall(input: FetchInput, init: RequestInit = {}): Promise<Call> {
  const request = typeof input === 'object' && 'url' in input ? input : undefined
  // A Request resolves relative URLs in a browser, and refuses what fetch refuses.
  const url = new URL(request ? request.url : new Request(String(input)).url)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new UnsupportedUrlError(url)

  const { method, headers, body, signal, redirect, ...rest } = init
  const call: Call = {
    url,
    method: normalizeMethod(method ?? request?.method ?? 'GET'),
    headers: new Headers(headers ?? request?.headers),
    body: undefined,
    replayable: true,
    signal: (signal === undefined ? request?.signal : signal) ?? undefined,
    redirect: redirect ?? request?.redirect ?? 'follow',
    rest: request ? { ...attributesOf(request), ...rest } : rest,
  }
  call.signal?.throwIfAborted()
  if (request?.bodyUsed && body === undefined) throw new TypeError('The body of the Request was read already.')
  if (body === undefined && request?.body) return { ...call, ...(await bufferStart(request.body)) }
  return body === undefined || body === null ? call : withBody(call, body)
}

/** As the Fetch standard: only these names are folded to upper case. */
function normalizeMethod(method: string): string {
  const upper = method.toUpperCase()
  return ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'].includes(upper) ? upper : method
}

function attributesOf(request: Request): RequestInit {
  const { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy } = request
  return { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy } as RequestInit
}

async function withBody(call: Call, body: NonNullable<RequestInit['body']>): Promise<Call> {
  if (typeof body === 'string' || body instanceof Blob) return { ...call, body }
  if (body instanceof URLSearchParams) {
    return { ...call, body: body.toString(), headers: typed(call, 'application/x-www-form-urlencoded;charset=UTF-8') }
  }
  if (body instanceof FormData) {
    // Encoded once: each encoding has another boundary, and a request id stands for one exact body.
    const encoded = new Response(body)
    return { ...call, headers: typed(call, encoded.headers.get('content-type')), body: await encoded.blob() }
  }
  if (body instanceof ArrayBuffer) return { ...call, body: body.slice(0) }
  if (ArrayBuffer.isView(body)) {
    return { ...call, body: new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() }
  }
  return { ...call, body, replayable: false }
}

function typed({ headers }: Call, contentType: string | null): Headers {
  if (contentType && !headers.has('content-type')) headers.set('content-type', contentType)
  return headers
}

/** The whole body as bytes when it is small; else a stream that gives what was read, then the rest. */
async function bufferStart(stream: ReadableStream): Promise<Pick<Call, 'body' | 'replayable'>> {
  const reader = (stream as ReadableStream<Uint8Array>).getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  while (size <= maxBufferedBytes) {
    const { done, value } = await reader.read()
    if (done) return { body: joined(chunks, size), replayable: true }
    chunks.push(value)
    size += value.byteLength
  }
  const rest = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const chunk = chunks.shift()
      if (chunk) return controller.enqueue(chunk)
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason),
  })
  return { body: rest, replayable: false }
}

function joined(chunks: Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.byteLength
  }
  return bytes
}

export class UnsupportedUrlError extends BaseError {
  override readonly code = 'url.unsupported'
  constructor(url: URL) {
    super('Only http and https URLs can be called.', {
      metaMessages: [`URL: ${url.href.slice(0, 200)}`],
      docsPath: '/errors#url-unsupported',
    })
  }
}
