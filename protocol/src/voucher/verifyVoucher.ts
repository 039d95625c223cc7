import type { Address, Hex } from 'viem'
import { bytesToHex } from 'viem'
import { publicKeyToAddress } from 'viem/accounts'
import { secp256k1 } from '#secp256k1'
import { splitSignature } from './signature.ts'
import type { SignedVoucher, Voucher } from './voucher.ts'

export type VerifiedVoucher = {
  /** Of the session key. Keep it: the next check with it costs half of a recovery. */
  publicKey: Uint8Array
}

/**
 * Whether `sessionKey` signed the voucher. With a `publicKey` from an earlier check the signature is verified against
 * it; without, the key is recovered and its address compared. High s and other encodings than r, s, v are refused.
 */
export function verifyVoucher(
  hash: (voucher: Voucher) => Uint8Array,
  voucher: SignedVoucher,
  sessionKey: Address,
  publicKey?: Uint8Array,
): VerifiedVoucher | undefined {
  const split = splitSignature(voucher.signature)
  if (!split) return undefined
  const digest = hash(voucher)
  if (publicKey) return secp256k1.verify(split.signature, digest, publicKey) ? { publicKey } : undefined
  const recovered = secp256k1.recover(split.signature, split.recovery, digest)
  if (!recovered || publicKeyToAddress(bytesToHex(recovered) as Hex) !== sessionKey) return undefined
  return { publicKey: recovered }
}
