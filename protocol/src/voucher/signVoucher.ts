import { type Hex, hexToBytes } from 'viem'
import { secp256k1 } from '#secp256k1'
import { joinSignature } from './signature.ts'
import type { SignedVoucher, Voucher } from './voucher.ts'

/** Signs a voucher's digest (see hashVoucher.ts) with the session key. */
export function signVoucher(hash: (voucher: Voucher) => Uint8Array, privateKey: Hex, voucher: Voucher): SignedVoucher {
  const { signature, recovery } = secp256k1.sign(hash(voucher), hexToBytes(privateKey))
  return { ...voucher, signature: joinSignature(signature, recovery) }
}
