import type { Admission, AdmittedCall } from './admit.ts'
import { joinBytes } from './joinBytes.ts'
import type { KeptAnswer } from './keptAnswers.ts'
import { maxKeptBytes, withoutTransport } from './keptHeaders.ts'
import { serveMeteredFetch } from './serveMeteredFetch.ts'

/**
 * The answer to a call, for whatever framework has answers of the Fetch standard. `handle` runs for a charged call
 * only; `signal` is the request's. A small answer is kept for a retry; another streams through untouched, with its reader's
 * back-pressure. A payment that moves then has moved before the head leaves.
 *
 * @param before Headers that were set before the handler ran: what is answered in its place has them too.
 */
export async function serveFetch(
  admission: Admission,
  handle: () => Promise<Response>,
  signal: AbortSignal | undefined,
  before?: Headers,
): Promise<Response> {
  if (admission.kind === 'answer') return toResponse(admission.answer)
  const { call } = admission
  let response: Response
  try {
    response = await handle()
  } catch (error) {
    await call.release()
    throw error
  }
  // The agent left before there was an answer: nothing was served.
  if (response.status >= call.failsFrom || signal?.aborted)
    return withHeaders(response, response.body, await call.release())

  const instead = await call.settle?.()
  if (instead) {
    await response.body?.cancel().catch(() => undefined)
    return toResponse(instead, before)
  }
  // It left meanwhile: what was paid for is given to whoever comes with the same payment.
  if (call.settle && signal?.aborted) return withHeaders(response, response.body, await call.release())

  if (call.metered) return serveMeteredFetch(call, call.metered, response)

  const charged = call.served()
  const { status } = response
  const headers = withoutTransport(response.headers)
  headers.push(...Object.entries(charged))
  const keep = (body: Uint8Array<ArrayBuffer>) => call.end({ status, headers, body })
  if (response.body === null) keep(new Uint8Array())
  return withHeaders(response, response.body && copyOf(response.body, call.end, keep), charged)
}

/** How long the rest of a small answer may take when its reader has gone. */
const drainMs = 1_000

/**
 * Passes a stream through, and keeps a copy while it is small. When its reader leaves, what is about to end anyway is
 * read to its end, so that the answer of a broken connection is there for the retry; longer ones are cancelled.
 */
function copyOf(
  stream: ReadableStream<Uint8Array>,
  end: AdmittedCall['end'],
  keep: (body: Uint8Array<ArrayBuffer>) => void,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader()
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let size = 0

  /** The next chunk; undefined at the end, which is recorded. */
  async function read(): Promise<Uint8Array | undefined> {
    const { done, value } = await reader.read()
    if (!done) {
      size += value.byteLength
      if (size <= maxKeptBytes) chunks.push(value.slice())
      else chunks.length = 0
      return value
    }
    if (size > maxKeptBytes) end('given')
    else keep(joinBytes(chunks))
    return undefined
  }

  async function drain(): Promise<void> {
    while (size <= maxKeptBytes) if (!(await read())) return
  }

  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const value = await read()
        if (value) controller.enqueue(value)
        else controller.close()
      } catch (error) {
        end('broken')
        controller.error(error)
      }
    },
    async cancel(reason) {
      let timer: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, drainMs)
      })
      await Promise.race([drain().catch(() => end('broken')), late])
      clearTimeout(timer)
      // Nothing when it has ended: what was delivered stays charged.
      end('given')
      await reader.cancel(reason)
    },
  })
}

function toResponse({ status, headers, body }: KeptAnswer, before?: Headers): Response {
  const response = new Response(isBodyless(status) ? null : body, { status, headers: before ?? [] })
  const own = new Headers(headers)
  for (const name of own.keys()) response.headers.delete(name)
  for (const [name, value] of own) response.headers.append(name, value)
  return response
}

function withHeaders(response: Response, body: Response['body'], added: Record<string, string>): Response {
  const answer = new Response(body, { status: response.status, headers: response.headers })
  for (const [name, value] of Object.entries(added)) answer.headers.set(name, value)
  return answer
}

/** By the Fetch standard these have no body, not even an empty one. */
function isBodyless(status: number): boolean {
  return [101, 204, 205, 304].includes(status)
}
