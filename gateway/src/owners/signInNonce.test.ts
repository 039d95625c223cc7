import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createSignInNonces } from './signInNonce.ts'

const ttlMs = 600_000
let now = 1_800_000_000_000
const create = (secret: string) => createSignInNonces({ secret, ttlMs, clock: () => now, randomBytes })

test('a nonce is valid until it expires, in every process that has the secret', () => {
  const { nonce, expiresAt } = create('secret').issue()
  expect(nonce).toMatch(/^[0-9a-f]{76}$/)
  expect(expiresAt.getTime()).toBe(now + ttlMs)
  const other = create('secret')
  expect(other.check(nonce)).toBe('valid')
  now += ttlMs - 1
  expect(other.check(nonce)).toBe('valid')
  now += 1
  expect(other.check(nonce)).toBe('expired')
})

test('no two are equal', () => {
  const nonces = create('secret')
  expect(new Set(Array.from({ length: 1_000 }, () => nonces.issue().nonce)).size).toBe(1_000)
})

test('what we did not issue, or what was changed anywhere, is unknown', () => {
  const nonces = create('secret')
  const { nonce } = nonces.issue()
  expect(create('another').check(nonce)).toBe('unknown')
  for (let index = 0; index < nonce.length; index++) {
    const digit = nonce[index] === '0' ? '1' : '0'
    expect(nonces.check(nonce.slice(0, index) + digit + nonce.slice(index + 1)), `digit ${index}`).toBe('unknown')
  }
  for (const wrong of ['', 'abcdefgh', nonce.toUpperCase(), `${nonce}00`, nonce.slice(2), '0'.repeat(76)]) {
    expect(nonces.check(wrong)).toBe('unknown')
  }
})
