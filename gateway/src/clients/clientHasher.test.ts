import { expect, test } from 'vitest'
import { createClientHasher } from './clientHasher.ts'

const key = 'a key of this deployment, long enough'

test('a client is the same name in every process with the key, and another with another key', () => {
  const name = createClientHasher(key)('192.0.2.1')
  expect(name).toMatch(/^[0-9a-f]{16}$/)
  expect(createClientHasher(key)('192.0.2.1')).toBe(name)
  expect(createClientHasher(key)('192.0.2.2')).not.toBe(name)
  expect(createClientHasher(`${key}!`)('192.0.2.1')).not.toBe(name)
})

test('who is not known has no name, and a remembered one keeps its own', () => {
  const hash = createClientHasher(key)
  expect(hash('unknown')).toBeUndefined()
  expect(hash('2001:db8:0:1::/64')).toBe(hash('2001:db8:0:1::/64'))
})
