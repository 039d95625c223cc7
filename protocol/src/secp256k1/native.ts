import curve from 'secp256k1'
import { hasLowS, type Secp256k1 } from './secp256k1.ts'

/** libsecp256k1, about 50 times faster than JavaScript. */
export const secp256k1: Secp256k1 = {
  sign(digest, privateKey) {
    const { signature, recid } = curve.ecdsaSign(digest, privateKey)
    return { signature, recovery: recid }
  },
  verify(signature, digest, publicKey) {
    try {
      return signature.length === 64 && curve.ecdsaVerify(signature, digest, publicKey)
    } catch {
      return false
    }
  },
  recover(signature, recovery, digest) {
    try {
      if (signature.length !== 64 || !hasLowS(signature)) return undefined
      return curve.ecdsaRecover(signature, recovery, digest, false)
    } catch {
      return undefined
    }
  },
  publicKeyOf(privateKey) {
    return curve.publicKeyCreate(privateKey, false)
  },
}
