import { createHash } from 'node:crypto'

/** SHA-256 over what a request asks for. Bodies that are too large to buffer count by their length. */
export function fingerprintOf(method: string, url: string, body: Uint8Array | { length: string } | undefined): string {
  const hash = createHash('sha256').update(method).update('\0').update(url).update('\0')
  if (body instanceof Uint8Array) hash.update(body)
  else if (body) hash.update(`length ${body.length}`)
  return hash.digest('base64url')
}
