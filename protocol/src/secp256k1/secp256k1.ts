/**
 * The curve operations a voucher needs. Two implementations with the same answers: libsecp256k1 on Node, noble in a
 * browser; package.json `imports` chooses. Signatures are 64 bytes r, s; only low s is accepted (EIP-2).
 */
export type Secp256k1 = {
  sign(digest: Uint8Array, privateKey: Uint8Array): { signature: Uint8Array; recovery: number }
  /** False for anything malformed, wrong or with a high s. Public key: 33 or 65 bytes. */
  verify(signature: Uint8Array, digest: Uint8Array, publicKey: Uint8Array): boolean
  /** The 65-byte public key that made the signature; undefined when there is none. */
  recover(signature: Uint8Array, recovery: number, digest: Uint8Array): Uint8Array | undefined
  /** 65 bytes, uncompressed. */
  publicKeyOf(privateKey: Uint8Array): Uint8Array
}

/** Half of the group order: a canonical s is at most this (EIP-2). */
const halfOrder = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n

/** Whether the s of a 64-byte signature is in the lower half of the order. */
export function hasLowS(signature: Uint8Array): boolean {
  // The first byte decides all but one in 2^8 cases without a bigint.
  const first = signature[32] ?? 0xff
  if (first < 0x7f) return true
  if (first > 0x7f) return false
  let s = 0n
  for (let index = 32; index < 64; index++) s = (s << 8n) | BigInt(signature[index] ?? 0)
  return s <= halfOrder
}
