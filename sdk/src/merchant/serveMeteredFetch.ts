import { isEventStream } from '@protocolbanks/stream-protocol'
import type { AdmittedCall } from './admit.ts'
import { createCopy } from './createCopy.ts'
import { joinBytes } from './joinBytes.ts'
import { withoutTransport } from './keptHeaders.ts'
import type { MeteredCall } from './meteredCall.ts'
import type { StreamCharge } from './passStream.ts'

/** An answer that is complete before it is of use is read up to here, so that its receipt tells what it cost. */
export const maxCompleteBytes = 1024 * 1024

/** Gives an answer whose price depends on what it used: a complete one with its receipt, another while it is charged. */
export async function serveMeteredFetch(
  call: AdmittedCall,
  metered: MeteredCall,
  response: Response,
): Promise<Response> {
  const { status } = response
  const type = response.headers.get('content-type')
  const start = isCompleteType(type) ? await readStart(response.body, call) : { chunks: [], rest: response.body }
  const headers = new Headers(response.headers)
  const add = (added: Record<string, string>) => {
    for (const [name, value] of Object.entries(added)) headers.set(name, value)
  }

  if (!start.rest) {
    const body = joinBytes(start.chunks)
    add(await metered.complete({ status, contentType: type, body }))
    call.end({ status, headers: withoutTransport(headers), body })
    return new Response(response.body === null ? null : body, { status, headers })
  }
  const charge = metered.begin({ status, contentType: type })
  add(metered.headers)
  // Events of ours come in between.
  if (isEventStream(type)) headers.delete('content-length')
  const kept = withoutTransport(headers)
  const body = passThrough(start.rest, start.chunks, charge, (copy) =>
    call.end(copy ? { status, headers: kept, body: copy } : 'given'),
  )
  return new Response(body, { status, headers })
}

/** Types of answers that nobody reads piece by piece. */
export function isCompleteType(contentType: string | null | undefined): boolean {
  return (
    contentType === null || contentType === undefined || /^\s*[\w.+-]+\/([\w.+-]+\+)?json\s*(;|$)/i.test(contentType)
  )
}

type Start = { chunks: Uint8Array<ArrayBuffer>[]; rest: ReadableStream<Uint8Array> | null }

/** All of a body, or its start and what is left of it. One that breaks has not been served. */
async function readStart(body: ReadableStream<Uint8Array> | null, call: AdmittedCall): Promise<Start> {
  const chunks: Uint8Array<ArrayBuffer>[] = []
  const reader = body?.getReader()
  if (!body || !reader) return { chunks, rest: null }
  try {
    for (let size = 0; size <= maxCompleteBytes; ) {
      const { done, value } = await reader.read()
      if (done) return { chunks, rest: null }
      chunks.push(value.slice())
      size += value.byteLength
    }
  } catch (error) {
    await call.release()
    throw error
  }
  reader.releaseLock()
  return { chunks, rest: body }
}

/** @param end With what was given when it was small and complete. */
function passThrough(
  stream: ReadableStream<Uint8Array>,
  first: Uint8Array<ArrayBuffer>[],
  charge: StreamCharge,
  end: (copy: Uint8Array<ArrayBuffer> | undefined) => void,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader()
  const copy = createCopy()
  let hasLeft = false

  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const write = (bytes: Uint8Array<ArrayBuffer>) => {
        if (!hasLeft) controller.enqueue(bytes)
      }
      try {
        const { done, value } = first.length > 0 ? { done: false, value: first.shift() } : await reader.read()
        if (hasLeft) return
        if (value) {
          copy.add(value)
          const goesOn = await charge.pass(value, write)
          if (goesOn || hasLeft) return
          end(undefined)
          // Events have said why; others would take it for the whole.
          if (charge.saysEnd) controller.close()
          else controller.error(new Error('The stream is not paid any further.'))
          return await reader.cancel('it is not paid any further')
        }
        if (!done) return
        await charge.finish((bytes) => {
          copy.add(bytes)
          write(bytes)
        })
        end(copy.bytes())
        if (!hasLeft) controller.close()
      } catch (error) {
        charge.leave()
        end(undefined)
        if (!hasLeft) controller.error(error)
      }
    },
    async cancel(reason) {
      hasLeft = true
      charge.leave()
      end(undefined)
      await reader.cancel(reason)
    },
  })
}
