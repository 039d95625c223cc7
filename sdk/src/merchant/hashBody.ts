import { sha256 } from './sha256.ts'

/** Larger bodies are not part of what a request id stands for; the gateway's own bound. */
const maxHashedBytes = 64 * 1024

/** Of a body of the Fetch standard with a known, small length. */
export async function hashRequestBody(
  contentLength: string | null | undefined,
  read: () => Promise<ArrayBuffer>,
): Promise<string | undefined> {
  const length = Number(contentLength ?? Number.NaN)
  return length > 0 && length <= maxHashedBytes ? sha256(await read()) : undefined
}

/** Of a body that the framework has parsed; equal bodies have equal hashes. */
export async function hashParsedBody(body: unknown): Promise<string | undefined> {
  if (body === undefined || body === null) return undefined
  if (body instanceof Uint8Array) return sha256(new Uint8Array(body))
  return sha256(new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body)))
}
