import fc from 'fast-check'
import { bytesToHex, hexToBytes } from 'viem'
import { expect, test } from 'vitest'
import { hexInto } from './hexInto.ts'

test('writes the bytes that viem reads, wherever they are asked for, in either case', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(10), fc.boolean(), (bytes, offset, isUpper) => {
      const hex = bytesToHex(bytes)
      const target = new Uint8Array(bytes.length + offset + 3).fill(7)
      expect(hexInto(isUpper ? `0x${hex.slice(2).toUpperCase()}` : hex, target, offset, bytes.length)).toBe(true)
      expect(target.subarray(offset, offset + bytes.length)).toEqual(hexToBytes(hex))
      expect(target.subarray(0, offset).every((byte) => byte === 7)).toBe(true)
      expect(target.subarray(offset + bytes.length)).toEqual(new Uint8Array(3).fill(7))
    }),
  )
})

test('refuses every other text and every other length', () => {
  const target = new Uint8Array(4)
  for (const text of [
    '',
    '0x',
    '0xabcd',
    '0xabcdef0',
    '0Xabcdef',
    'abcdef00',
    '0xabcdeg',
    '0xab ef1',
    '0xabcd\u0130f',
  ]) {
    expect(hexInto(text, target, 0, 3)).toBe(false)
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 12 }), (text) => {
      expect(hexInto(text, target, 0, 3)).toBe(/^0x[0-9a-fA-F]{6}$/.test(text))
    }),
  )
})
