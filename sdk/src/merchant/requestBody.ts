/** Larger bodies are not part of what a request id stands for, nor of what it is priced by; the gateway's own bound. */
const maxBodyBytes = 64 * 1024

/** A body of the Fetch standard with a known, small length. */
export async function readSmallBody(
  contentLength: string | null | undefined,
  read: () => Promise<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const length = Number(contentLength ?? Number.NaN)
  return length > 0 && length <= maxBodyBytes ? new Uint8Array(await read()) : undefined
}

/** A body that the framework has parsed, as bytes; equal bodies have equal bytes. */
export function writeParsedBody(body: unknown): Uint8Array<ArrayBuffer> | undefined {
  if (body === undefined || body === null) return undefined
  if (body instanceof Uint8Array) return new Uint8Array(body)
  return new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body))
}
