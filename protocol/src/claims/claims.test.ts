import fc from 'fast-check'
import { bytesToHex, concatHex, getAddress, type Hex, size, slice } from 'viem'
import { expect, test } from 'vitest'
import { type Claim, InvalidClaimError, maxClaims, packClaims } from './packClaims.ts'
import { unpackClaims } from './unpackClaims.ts'

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => bytesToHex(value))
const signature = fc
  .tuple(bytes(32), fc.bigInt(1n, 2n ** 255n - 1n), fc.constantFrom('1b', '1c'))
  .map(([r, s, v]): Hex => `${r}${s.toString(16).padStart(64, '0')}${v}` as Hex)
const claimWith = (proof: fc.Arbitrary<Claim['proof']>) =>
  fc
    .record({
      payee: bytes(20).map(getAddress),
      cumulativeAmount: fc.bigInt(0n, 2n ** 96n - 1n),
      signature,
      proof,
      part: fc.bigInt(0n, 1_000n),
    })
    .map(({ part, ...claim }): Claim => ({ ...claim, amount: (claim.cumulativeAmount * part) / 1_000n }))
const single = claimWith(fc.constant([])).map((claim) => [claim])
const several = fc.array(
  claimWith(fc.oneof(fc.constant('known' as const), fc.array(bytes(32), { minLength: 1, maxLength: 32 }))),
  { minLength: 1, maxLength: 8 },
)

test('claims survive their encoding: alone, with proofs and of known payees, in any mix', () => {
  fc.assert(
    fc.property(fc.oneof(single, several), (claims) => {
      expect(unpackClaims(packClaims(claims))).toEqual(claims)
    }),
    { numRuns: 200 },
  )
})

test('the claim of a known payee is 113 bytes that end in ff', () => {
  fc.assert(
    fc.property(claimWith(fc.constant('known')), (claim) => {
      const packed = packClaims([claim])
      expect(size(packed)).toBe(113)
      expect(packed.slice(-2)).toBe('ff')
      // Everything before is what the claim has with a proof.
      expect(slice(packed, 0, 112)).toBe(slice(packClaims([{ ...claim, proof: [] }]), 0, 112))
    }),
  )
})

test('what the contract calls malformed is not read', () => {
  const [claim] = fc.sample(claimWith(fc.constant([])), { numRuns: 1, seed: 7 })
  if (!claim) throw new Error('no claim')
  const alone = packClaims([claim])
  const known = packClaims([{ ...claim, proof: 'known' }])
  const proven = packClaims([{ ...claim, proof: [slice(alone, 0, 32)] }])
  const lengthOf = (length: number): Hex => concatHex([slice(alone, 0, 112), bytesToHex(Uint8Array.of(length))])
  const zeros = (length: number) => bytesToHex(new Uint8Array(length))
  for (const malformed of [
    '0x' as const,
    slice(alone, 0, 112),
    concatHex([alone, alone]),
    concatHex([known, alone]),
    concatHex([known, '0x00']),
    slice(proven, 0, 144),
    concatHex([lengthOf(33), zeros(32 * 33)]),
    concatHex([lengthOf(0xfe), zeros(32 * 0xfe)]),
    concatHex(Array.from({ length: maxClaims + 1 }, () => known)),
  ]) {
    expect(unpackClaims(malformed)).toBeUndefined()
  }
  expect(unpackClaims(concatHex([known, proven, known]))).toHaveLength(3)
})

test('claims that do not fit their encoding are refused', () => {
  const [claim] = fc.sample(claimWith(fc.constant([])), { numRuns: 1, seed: 8 })
  if (!claim) throw new Error('no claim')
  const element = `0x${'00'.repeat(32)}` as const
  for (const claims of [
    [],
    [{ ...claim, amount: claim.cumulativeAmount + 1n }],
    [{ ...claim, proof: Array.from({ length: 33 }, () => element) }],
    Array.from({ length: maxClaims + 1 }, () => ({ ...claim, proof: 'known' as const })),
  ]) {
    expect(() => packClaims(claims)).toThrow(InvalidClaimError)
  }
})
