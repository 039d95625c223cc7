import fc from 'fast-check'
import { expect, test } from 'vitest'
import { joinBytes } from './joinBytes.ts'

test('what is cut in any way is joined to what it was, in bytes of its own', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.array(fc.nat({ max: 20 })), (bytes, cuts) => {
      const places = [0, ...cuts.toSorted((a, b) => a - b).map((at) => Math.min(at, bytes.length)), bytes.length]
      const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end))
      const joined = joinBytes(chunks)
      expect(joined).toEqual(bytes)
      expect(joined.buffer).not.toBe(bytes.buffer)
    }),
  )
})
