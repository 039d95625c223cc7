import { joinBytes } from './joinBytes.ts'
import { maxKeptBytes } from './keptHeaders.ts'

/** What was written, while it is small. */
export function createCopy() {
  let chunks: Uint8Array[] | undefined = []
  let size = 0
  return {
    /** Undefined for what cannot be kept. */
    add(bytes: Uint8Array | undefined): void {
      size += bytes?.byteLength ?? 0
      if (bytes && size <= maxKeptBytes) chunks?.push(bytes.slice())
      else chunks = undefined
    },
    /** All of it, or undefined when it was too much. */
    bytes(): Uint8Array<ArrayBuffer> | undefined {
      return chunks && joinBytes(chunks)
    },
  }
}

/**
 * A chunk as Node takes it: bytes, text, or nothing but a callback. Undefined for text in an encoding other than
 * UTF-8, which hardly anybody writes: such an answer is not kept.
 */
export function toBytes(chunk: unknown, encoding: unknown): Uint8Array | undefined {
  if (chunk instanceof Uint8Array) return chunk
  if (typeof chunk !== 'string') return new Uint8Array()
  return typeof encoding === 'string' && !/^utf-?8$/i.test(encoding) ? undefined : new TextEncoder().encode(chunk)
}
