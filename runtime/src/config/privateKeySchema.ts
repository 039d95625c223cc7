import { z } from 'zod'

/** Of the curve secp256k1 (SEC 2, section 2.4.1): a private key is below it. */
const order = 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_fffe_baae_dce6_af48_a03b_bfd2_5e8c_d036_4141n

/** An Ethereum private key: 32 bytes of hex with 0x. The error shows no part of it. */
export const privateKeySchema = z
  .string()
  .refine(isPrivateKey, 'must be a private key: 32 bytes of hex')
  .transform((key) => key as `0x${string}`)

function isPrivateKey(text: string): boolean {
  if (!/^0x[0-9a-fA-F]{64}$/.test(text)) return false
  const key = BigInt(text)
  return key > 0n && key < order
}
