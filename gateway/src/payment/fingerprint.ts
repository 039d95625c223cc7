import { createHash, hash } from 'node:crypto'

/** SHA-256 over what a request asks for. Bodies that are too large to buffer count by their length. */
export function fingerprintOf(method: string, url: string, body: Uint8Array | { length: string } | undefined): string {
  const head = `${method}\0${url}\0`
  if (body instanceof Uint8Array) return createHash('sha256').update(head).update(body).digest('base64url')
  // In one step, for half the time; most requests have no body.
  return hash('sha256', body ? `${head}length ${body.length}` : head, 'base64url')
}
