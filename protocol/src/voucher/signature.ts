import { bytesToHex, type Hex } from 'viem'
import { BaseError } from '../errors.ts'
import { hexInto } from '../hex/hexInto.ts'

/** 64 bytes r, s and the recovery bit to the 65-byte hex r, s, v with v 27 or 28. */
export function joinSignature(signature: Uint8Array, recovery: number): Hex {
  const joined = new Uint8Array(65)
  joined.set(signature)
  joined[64] = 27 + recovery
  return bytesToHex(joined)
}

/** The inverse; undefined when it is not 65 bytes with v 27 or 28 (0 and 1 are refused: one encoding only). */
export function splitSignature(signature: Hex): { signature: Uint8Array; recovery: number } | undefined {
  const bytes = new Uint8Array(65)
  if (!hexInto(signature, bytes, 0, 65)) return undefined
  const v = bytes[64]
  if (v !== 27 && v !== 28) return undefined
  return { signature: bytes.subarray(0, 64), recovery: v - 27 }
}

/** The 64-byte form of EIP-2098 that claims and the paymaster use. @throws InvalidSignatureError */
export function toCompactSignature(signature: Hex): Hex {
  const split = splitSignature(signature)
  if (!split) throw new InvalidSignatureError(signature)
  const compact = split.signature.slice()
  compact[32] = (compact[32] ?? 0) | (split.recovery << 7)
  return bytesToHex(compact)
}

export class InvalidSignatureError extends BaseError {
  override readonly code = 'signature.malformed'
  constructor(signature: Hex) {
    super('The signature is not 65 bytes r, s, v with v 27 or 28.', {
      metaMessages: [`Length: ${(signature.length - 2) / 2} bytes`],
      docsPath: '/errors#signature-malformed',
    })
  }
}
