import { createECDH, createHash, createPrivateKey, sign } from 'node:crypto'
import type { Hex, ReceiptKey } from '@protocolbanks/stream-protocol'
import { z } from 'zod'

/** Of P-256 (FIPS 186-5, NIST SP 800-186 section 3.2.1.3): a private key is below it. */
const order = 0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff_bce6_faad_a717_9e84_f3b9_cac2_fc63_2551n

/** The private half of a key that signs receipts. The error shows no part of it. */
export const receiptPrivateKeySchema = z
  .string()
  .refine((text) => /^0x[0-9a-fA-F]{64}$/.test(text) && BigInt(text) > 0n && BigInt(text) < order, {
    message: 'must be a private key of P-256: 32 bytes of hex',
  })
  .transform((text) => text as Hex)

/** Signs receipts with one key. */
export type ReceiptSigner = {
  /** The public half, as it is published. */
  key: ReceiptKey
  /** Detached compact JWS (RFC 7515, appendix F) over a receipt's canonical text; about 30 µs. */
  sign(text: string): string
}

/**
 * ES256 (ECDSA on P-256 with SHA-256, RFC 7518 section 3.4): see docs/adr/0012.
 *
 * @param privateKey 32 bytes, above zero and below the order of P-256
 */
export function createReceiptSigner(privateKey: Hex): ReceiptSigner {
  const ecdh = createECDH('prime256v1')
  ecdh.setPrivateKey(privateKey.slice(2), 'hex')
  const point = ecdh.getPublicKey()
  const x = point.subarray(1, 33).toString('base64url')
  const y = point.subarray(33).toString('base64url')
  const d = Buffer.from(privateKey.slice(2), 'hex').toString('base64url')
  const key = {
    key: createPrivateKey({ key: { kty: 'EC', crv: 'P-256', x, y, d }, format: 'jwk' }),
    dsaEncoding: 'ieee-p1363' as const,
  }
  const kid = createHash('sha256').update(`{"crv":"P-256","kty":"EC","x":"${x}","y":"${y}"}`).digest('base64url')
  const header = Buffer.from(JSON.stringify({ alg: 'ES256', kid })).toString('base64url')
  return {
    key: { kty: 'EC', crv: 'P-256', x, y, kid, alg: 'ES256', use: 'sig' },
    sign(text) {
      const input = Buffer.from(`${header}.${Buffer.from(text).toString('base64url')}`, 'latin1')
      return `${header}..${sign('sha256', input, key).toString('base64url')}`
    },
  }
}
