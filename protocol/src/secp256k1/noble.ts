import { secp256k1 as curve } from '@noble/curves/secp256k1'
import { hasLowS, type Secp256k1 } from './secp256k1.ts'

/** Pure JavaScript, for browsers. */
export const secp256k1: Secp256k1 = {
  sign(digest, privateKey) {
    const signature = curve.sign(digest, privateKey, { lowS: true })
    return { signature: signature.toCompactRawBytes(), recovery: signature.recovery }
  },
  verify(signature, digest, publicKey) {
    try {
      return signature.length === 64 && curve.verify(signature, digest, publicKey, { lowS: true })
    } catch {
      return false
    }
  },
  recover(signature, recovery, digest) {
    try {
      if (signature.length !== 64 || !hasLowS(signature)) return undefined
      return curve.Signature.fromCompact(signature).addRecoveryBit(recovery).recoverPublicKey(digest).toRawBytes(false)
    } catch {
      return undefined
    }
  },
  publicKeyOf(privateKey) {
    return curve.getPublicKey(privateKey, false)
  },
}
