import { type Address, bytesToHex, type Hex } from 'viem'
import { publicKeyToAddress } from 'viem/accounts'
import { secp256k1 } from '#secp256k1'
import { joinSignature, splitSignature } from './signature.ts'
import type { SignedVoucher, Voucher } from './voucher.ts'

/**
 * The signature with the recovery bit the chain needs; undefined when `sessionKey` did not sign the voucher.
 *
 * Checking against a known public key (verifyVoucher.ts) ignores v, but `ecrecover` does not: a voucher with a flipped
 * v would be served and then not paid. So everything that goes on-chain passes through here.
 */
export function canonicalSignature(
  hash: (voucher: Voucher) => Uint8Array,
  voucher: SignedVoucher,
  sessionKey: Address,
): Hex | undefined {
  const split = splitSignature(voucher.signature)
  if (!split) return undefined
  const digest = hash(voucher)
  for (const recovery of [split.recovery, 1 - split.recovery]) {
    const publicKey = secp256k1.recover(split.signature, recovery, digest)
    if (publicKey && publicKeyToAddress(bytesToHex(publicKey)) === sessionKey)
      return joinSignature(split.signature, recovery)
  }
  return undefined
}
