import fc from 'fast-check'
import { createKeccak } from 'hash-wasm'
import { bytesToHex } from 'viem'
import { expect, test } from 'vitest'
import { keccak256 as noble } from './noble.ts'
import { keccak256 as wasm } from './wasm.ts'

test('WebAssembly and JavaScript hash alike, before and after it is compiled', async () => {
  const equal = () =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        expect(bytesToHex(wasm(bytes))).toBe(bytesToHex(noble(bytes)))
      }),
    )
  equal()
  // Compiled later than the one inside.
  await createKeccak(256)
  equal()
})

test('a digest stays what it was when the next one is made', () => {
  const first = wasm(new Uint8Array(1))
  const copy = bytesToHex(first)
  wasm(new Uint8Array(2))
  expect(bytesToHex(first)).toBe(copy)
})
