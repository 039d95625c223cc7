import fc from 'fast-check'
import { expect, test } from 'vitest'
import { allScopes, apiKeyScopes, coversKey, hasScope, type KeyRights } from './scopes.ts'

const rightsOf: fc.Arbitrary<KeyRights> = fc.record({
  scopes: fc.oneof(fc.constant([allScopes]), fc.subarray([...apiKeyScopes], { minLength: 1 })),
  expiresAt: fc.option(fc.date({ noInvalidDate: true }), { nil: null }),
})

test('a key that covers another may do all that the other may, for as long', () => {
  fc.assert(
    fc.property(rightsOf, rightsOf, (have, other) => {
      if (!coversKey(have, other)) return
      for (const scope of apiKeyScopes)
        expect(hasScope(other.scopes, scope) && !hasScope(have.scopes, scope)).toBe(false)
      const end = ({ expiresAt }: KeyRights) => expiresAt?.getTime() ?? Number.POSITIVE_INFINITY
      expect(end(other)).toBeLessThanOrEqual(end(have))
    }),
  )
})

test('a key covers itself, and what it covers covers nothing more', () => {
  fc.assert(
    fc.property(rightsOf, rightsOf, rightsOf, (one, two, three) => {
      expect(coversKey(one, one)).toBe(true)
      if (coversKey(one, two) && coversKey(two, three)) expect(coversKey(one, three)).toBe(true)
    }),
  )
})

test('only everything covers everything: what comes later is part of it', () => {
  expect(coversKey({ scopes: apiKeyScopes, expiresAt: null }, { scopes: [allScopes], expiresAt: null })).toBe(false)
})
