import fc from 'fast-check'
import { bytesToHex, getAddress, type Hex, hashTypedData, hexToBytes } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { describe, expect, test } from 'vitest'
import { maxUint128 } from '../money.ts'
import { secp256k1 as native } from '../secp256k1/native.ts'
import { secp256k1 as noble } from '../secp256k1/noble.ts'
import { canonicalSignature } from './canonicalSignature.ts'
import { createVoucherHasher } from './hashVoucher.ts'
import { joinSignature, splitSignature, toCompactSignature } from './signature.ts'
import { signVoucher } from './signVoucher.ts'
import { verifyVoucher } from './verifyVoucher.ts'
import { voucherDomain, voucherTypes } from './voucher.ts'

const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => bytesToHex(value))
const domainOf = fc.record({ chainId: fc.integer({ min: 1, max: 2 ** 31 }), module: bytes(20).map(getAddress) })
const voucherOf = fc.record({
  grantId: bytes(32),
  payee: bytes(20).map(getAddress),
  cumulativeAmount: fc.bigInt(0n, maxUint128),
})
const privateKeyOf = bytes(32).filter((key) => BigInt(key) > 0n && BigInt(key) < order)

/** The same signature with s in the upper half of the order: a second valid encoding that nobody may accept. */
function malleated(signature: Hex): Hex {
  const split = splitSignature(signature)
  if (!split) throw new Error('not a signature')
  const s = order - BigInt(bytesToHex(split.signature.subarray(32)))
  const upper = new Uint8Array(split.signature)
  upper.set(hexToBytes(`0x${s.toString(16).padStart(64, '0')}`), 32)
  return joinSignature(upper, 1 - split.recovery)
}

test('the hand-encoded digest equals viem hashTypedData for any voucher and domain', () => {
  fc.assert(
    fc.property(domainOf, voucherOf, (domain, voucher) => {
      const expected = hashTypedData({
        domain: voucherDomain(domain),
        types: voucherTypes,
        primaryType: 'Voucher',
        message: voucher,
      })
      expect(bytesToHex(createVoucherHasher(domain)(voucher))).toBe(expected)
    }),
  )
})

test('native and JavaScript curves sign, verify and recover alike', () => {
  fc.assert(
    fc.property(bytes(32), privateKeyOf, (digest, key) => {
      const [d, k] = [hexToBytes(digest), hexToBytes(key)]
      const signed = native.sign(d, k)
      expect(bytesToHex(noble.sign(d, k).signature)).toBe(bytesToHex(signed.signature))
      expect(noble.sign(d, k).recovery).toBe(signed.recovery)
      const publicKey = native.publicKeyOf(k)
      expect(bytesToHex(noble.publicKeyOf(k))).toBe(bytesToHex(publicKey))
      for (const curve of [native, noble]) {
        expect(curve.verify(signed.signature, d, publicKey)).toBe(true)
        const recovered = curve.recover(signed.signature, signed.recovery, d)
        expect(recovered && bytesToHex(recovered)).toBe(bytesToHex(publicKey))
      }
    }),
    { numRuns: 30 },
  )
})

test('native and JavaScript curves refuse the same random signatures', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), bytes(32), privateKeyOf, (signature, digest, key) => {
      const [d, publicKey] = [hexToBytes(digest), native.publicKeyOf(hexToBytes(key))]
      expect(native.verify(signature, d, publicKey)).toBe(noble.verify(signature, d, publicKey))
    }),
    { numRuns: 50 },
  )
})

describe('a signed voucher', () => {
  const key: Hex = '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d'
  const { address } = privateKeyToAccount(key)
  const domain = { chainId: 31337, module: getAddress('0x5fbdb2315678afecb367f032d93f642f64180aa3') } as const
  const hash = createVoucherHasher(domain)
  const voucher = signVoucher(hash, key, {
    grantId: `0x${'ab'.repeat(32)}`,
    payee: getAddress('0x70997970c51812dc3a010c7d01b50e0d17dc79c8'),
    cumulativeAmount: 10_000n,
  })

  test('has the signature that a wallet would make with signTypedData', async () => {
    const { signature, ...message } = voucher
    const expected = await privateKeyToAccount(key).signTypedData({
      domain: voucherDomain(domain),
      types: voucherTypes,
      primaryType: 'Voucher',
      message,
    })
    expect(signature).toBe(expected)
  })

  test('verifies by recovery and against a known public key', () => {
    const verified = verifyVoucher(hash, voucher, address)
    expect(verified).toBeDefined()
    expect(verifyVoucher(hash, voucher, address, verified?.publicKey)).toBeDefined()
  })

  test('does not verify for another key, grant, payee, amount or chain', () => {
    const other = privateKeyToAccount(`0x${'11'.repeat(32)}`).address
    const publicKey = verifyVoucher(hash, voucher, address)?.publicKey
    expect(verifyVoucher(hash, voucher, other)).toBeUndefined()
    const changes = [
      { grantId: `0x${'cd'.repeat(32)}` as Hex },
      { payee: other },
      { cumulativeAmount: voucher.cumulativeAmount + 1n },
    ]
    for (const change of changes) {
      expect(verifyVoucher(hash, { ...voucher, ...change }, address)).toBeUndefined()
      expect(verifyVoucher(hash, { ...voucher, ...change }, address, publicKey)).toBeUndefined()
    }
    expect(verifyVoucher(createVoucherHasher({ ...domain, chainId: 1 }), voucher, address, publicKey)).toBeUndefined()
  })

  test('is refused with a high s, by recovery and against a known key', () => {
    const publicKey = verifyVoucher(hash, voucher, address)?.publicKey
    const twin = { ...voucher, signature: malleated(voucher.signature) }
    expect(verifyVoucher(hash, twin, address)).toBeUndefined()
    expect(verifyVoucher(hash, twin, address, publicKey)).toBeUndefined()
    expect(canonicalSignature(hash, twin, address)).toBeUndefined()
  })

  test('is refused as 64 bytes, with v 0 or 1, or as garbage', () => {
    const r = voucher.signature.slice(0, 130)
    for (const signature of [
      r,
      `${r}00`,
      `${r}01`,
      `${r}1d`,
      '0x',
      `0x${'00'.repeat(65)}`,
      `0x${'ff'.repeat(65)}`,
    ] as Hex[]) {
      expect(verifyVoucher(hash, { ...voucher, signature }, address)).toBeUndefined()
    }
  })

  test('whose v was flipped gets back the v that the chain needs', () => {
    const split = splitSignature(voucher.signature)
    if (!split) throw new Error('not a signature')
    const flipped = joinSignature(split.signature, 1 - split.recovery)
    expect(canonicalSignature(hash, { ...voucher, signature: flipped }, address)).toBe(voucher.signature)
  })

  test('has an EIP-2098 form of 64 bytes with the recovery bit on top of s', () => {
    const compact = hexToBytes(toCompactSignature(voucher.signature))
    const split = splitSignature(voucher.signature)
    expect(compact).toHaveLength(64)
    expect((compact[32] ?? 0) >> 7).toBe(split?.recovery)
  })
})
