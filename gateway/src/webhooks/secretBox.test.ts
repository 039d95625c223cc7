import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createSecretBox } from './secretBox.ts'

const [oldKey, newKey] = [randomBytes(32), randomBytes(32)]

test('what was sealed opens for what it belongs to, and for nothing else', () => {
  const box = createSecretBox([newKey])
  const sealed = box.seal('whsec_abc', 'whep_1')
  expect(sealed).not.toContain('abc')
  expect(box.open(sealed, 'whep_1')).toBe('whsec_abc')
  expect(() => box.open(sealed, 'whep_2')).toThrow()
  expect(box.seal('whsec_abc', 'whep_1')).not.toBe(sealed)
})

test('what was changed does not open', () => {
  const box = createSecretBox([newKey])
  const [version, id, text = ''] = box.seal('whsec_abc', 'whep_1').split('.')
  for (const index of [0, 20, text.length - 2]) {
    const changed = `${text.slice(0, index)}${text[index] === 'A' ? 'B' : 'A'}${text.slice(index + 1)}`
    expect(() => box.open(`${version}.${id}.${changed}`, 'whep_1')).toThrow()
  }
  expect(() => box.open(`${version}.${id}.${text.slice(0, 8)}`, 'whep_1')).toThrow()
})

test('a new key in front of the old one opens what both sealed; without the old one the error says so', () => {
  const sealed = createSecretBox([oldKey]).seal('whsec_abc', 'whep_1')
  const both = createSecretBox([newKey, oldKey])
  expect(both.open(sealed, 'whep_1')).toBe('whsec_abc')
  expect(createSecretBox([newKey]).open(both.seal('whsec_d', 'whep_1'), 'whep_1')).toBe('whsec_d')
  expect(() => createSecretBox([newKey]).open(sealed, 'whep_1')).toThrow(/WEBHOOK_ENCRYPTION_KEYS/)
})

test('a key of another length is refused', () => {
  expect(() => createSecretBox([])).toThrow()
  expect(() => createSecretBox([newKey, randomBytes(16)])).toThrow()
})
