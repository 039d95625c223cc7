import fc from 'fast-check'
import { bytesToHex, encodeAbiParameters, getAddress, keccak256, size } from 'viem'
import { expect, test } from 'vitest'
import { maxUint96 } from '../money.ts'
import { InvalidPayeesError, isPayee, payeeProofOf, payeeRootOf } from './payees.ts'
import { type GrantTerms, InvalidTermsError, packedTermsSize, packTerms, unpackTerms } from './terms.ts'

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => bytesToHex(value))
const address = bytes(20).map(getAddress)
const time = fc.integer({ min: 0, max: 2 ** 46 })
const termsOf: fc.Arbitrary<GrantTerms> = fc
  .record({
    sessionKey: address,
    settler: address,
    token: address,
    totalLimit: fc.bigInt(1n, maxUint96),
    limit: fc.option(
      fc.record({ periodLimit: fc.bigInt(1n, maxUint96), period: fc.integer({ min: 1, max: 2 ** 32 - 1 }) }),
    ),
    validAfter: time,
    duration: time,
    payeeRoot: bytes(32),
    source: fc.constantFrom('allowance', 'reserve'),
    salt: bytes(24),
  })
  .map(({ limit, duration, ...terms }) => ({
    ...terms,
    ...(limit ?? { periodLimit: 0n, period: 0 }),
    validUntil: terms.validAfter + duration,
  }))

test('packed terms have 157 bytes and unpack to the same terms', () => {
  fc.assert(
    fc.property(termsOf, (terms) => {
      const packed = packTerms(terms)
      expect(size(packed)).toBe(packedTermsSize)
      expect(unpackTerms(packed)).toEqual(terms)
    }),
  )
})

const [example] = fc.sample(termsOf, { numRuns: 1, seed: 1 }) as [GrantTerms]
test.each<[string, Partial<GrantTerms>]>([
  ['a total limit of zero', { totalLimit: 0n }],
  ['a period without its limit', { period: 60, periodLimit: 0n }],
  ['a fractional period', { period: 1.5, periodLimit: 1n }],
  ['an end before its start', { validAfter: 10, validUntil: 9 }],
  ['an end of 2^47 seconds', { validUntil: 2 ** 47 }],
])('refuses terms with %s', (_, change) => {
  expect(() => packTerms({ ...example, ...change })).toThrow(InvalidTermsError)
})

test('the root of one payee is its double-hashed leaf, with an empty proof', () => {
  fc.assert(
    fc.property(address, (payee) => {
      expect(payeeRootOf([payee])).toBe(keccak256(keccak256(encodeAbiParameters([{ type: 'address' }], [payee]))))
      expect(payeeProofOf([payee], payee)).toEqual([])
    }),
  )
})

test('every payee of a list proves itself, nobody else does', () => {
  fc.assert(
    fc.property(fc.uniqueArray(address, { minLength: 2, maxLength: 20 }), (list) => {
      const [stranger, ...payees] = list as [(typeof list)[0], ...typeof list]
      const root = payeeRootOf(payees)
      for (const payee of payees) {
        const proof = payeeProofOf(payees, payee)
        expect(isPayee(root, payee, proof)).toBe(true)
        expect(isPayee(root, stranger, proof)).toBe(false)
      }
    }),
    { numRuns: 30 },
  )
})

test('refuses no payee, a payee listed twice and a proof for a stranger', () => {
  const payee = getAddress('0x70997970c51812dc3a010c7d01b50e0d17dc79c8')
  const other = getAddress('0x5fbdb2315678afecb367f032d93f642f64180aa3')
  expect(() => payeeRootOf([])).toThrow(InvalidPayeesError)
  expect(() => payeeRootOf([payee, payee])).toThrow(InvalidPayeesError)
  expect(() => payeeProofOf([payee], other)).toThrow(InvalidPayeesError)
})
