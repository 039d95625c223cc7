import { sha256 as hashAtOnce } from 'viem'

/** The platform takes some 80 µs and another thread for any length; up to here that is more than doing it at once. */
const maxAtOnce = 4_096

/** In hex. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (bytes.byteLength <= maxAtOnce) return hashAtOnce(bytes).slice(2)
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
