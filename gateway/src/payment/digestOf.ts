import { hash } from 'node:crypto'

/** `Content-Digest` of a buffered body (RFC 9530). Undefined when there is none, and for one that is left to stream. */
export function digestOf(body: Uint8Array | { length: string } | undefined): string | undefined {
  if (!(body instanceof Uint8Array) || body.length === 0) return undefined
  return `sha-256=:${hash('sha256', body, 'base64')}:`
}
