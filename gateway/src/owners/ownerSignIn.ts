import { randomBytes } from 'node:crypto'
import type { Context } from 'hono'
import { createRateLimit, type RateLimit } from './rateLimit.ts'
import { createSignInNonces, type SignInNonces } from './signInNonce.ts'
import type { VerifyOwnerSignature } from './verifyOwnerSignature.ts'

/** What owners' sign-in stands on. */
export type OwnerSignIn = {
  /** Of the pages that owners sign in at, as `https://console.example.com`. */
  origins: readonly string[]
  sessionTtlMs: number
  nonces: SignInNonces
  nonceTtlMs: number
  verifySignature: VerifyOwnerSignature
  /** By who asks, by the account they name, by the account that changes something, and over everybody. */
  limits: Record<'client' | 'account' | 'change' | 'all', RateLimit>
  /** Who asks, see clientAddress.ts. */
  clientOf(c: Context): string
}

export type OwnerSignInOptions = Pick<OwnerSignIn, 'origins' | 'sessionTtlMs' | 'verifySignature' | 'clientOf'> & {
  /** Every process of the deployment has the same. */
  secret: string
  clock(): number
  /** Of one client in a minute, nonces and sign-ins together. */
  perMinute: number
}

const nonceTtlMs = 600_000
const windowMs = 60_000
const maxKeys = 10_000
/** In a minute, in this process: what the chain is asked, and what the audit grows by, is bounded by it. */
const maxSignIns = 600

/** Limits count in this process alone, in bounded memory. */
export function createOwnerSignIn(options: OwnerSignInOptions): OwnerSignIn {
  const { secret, clock, perMinute, ...given } = options
  const limit = (max: number) => createRateLimit({ max, windowMs, maxKeys, clock })
  return {
    ...given,
    nonceTtlMs,
    nonces: createSignInNonces({ secret, ttlMs: nonceTtlMs, clock, randomBytes }),
    limits: { client: limit(perMinute), account: limit(perMinute), change: limit(perMinute), all: limit(maxSignIns) },
  }
}
