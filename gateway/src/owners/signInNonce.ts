import { createHmac, timingSafeEqual } from 'node:crypto'

/** What makes one sign-in unlike every other. */
export type SignInNonces = {
  issue(): { nonce: string; expiresAt: Date }
  /** Whether one of ours is in time. That it was not used before, the database says: a nonce opens one session. */
  check(nonce: string): 'valid' | 'expired' | 'unknown'
}

export type SignInNonceOptions = {
  /** The same in every process of the deployment. */
  secret: string
  ttlMs: number
  clock(): number
  /** So many random bytes. */
  randomBytes(size: number): Buffer
}

const timeBytes = 6
const randomSize = 16
const macBytes = 16
const pattern = new RegExp(`^[0-9a-f]{${2 * (timeBytes + randomSize + macBytes)}}$`)

/**
 * Nonces that carry when they end, 128 random bits, and an HMAC-SHA256 over both: issuing one stores nothing, so nobody
 * fills anything by asking for many. In hexadecimal, as EIP-4361 wants letters and digits.
 */
export function createSignInNonces({ secret, ttlMs, clock, randomBytes }: SignInNonceOptions): SignInNonces {
  const key = createHmac('sha256', secret).update('protocolbanks owner sign-in nonce').digest()
  const macOf = (bytes: Buffer) => createHmac('sha256', key).update(bytes).digest().subarray(0, macBytes)
  return {
    issue() {
      const expiresAt = clock() + ttlMs
      const time = Buffer.alloc(timeBytes)
      time.writeUIntBE(expiresAt, 0, timeBytes)
      const bytes = Buffer.concat([time, randomBytes(randomSize)])
      return { nonce: Buffer.concat([bytes, macOf(bytes)]).toString('hex'), expiresAt: new Date(expiresAt) }
    },
    check(nonce) {
      if (!pattern.test(nonce)) return 'unknown'
      const all = Buffer.from(nonce, 'hex')
      const bytes = all.subarray(0, timeBytes + randomSize)
      if (!timingSafeEqual(macOf(bytes), all.subarray(timeBytes + randomSize))) return 'unknown'
      return clock() < bytes.readUIntBE(0, timeBytes) ? 'valid' : 'expired'
    },
  }
}
