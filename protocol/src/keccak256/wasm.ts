import { createKeccak, type IHasher } from 'hash-wasm'
import type { Keccak256 } from './keccak256.ts'
import { keccak256 as noble } from './noble.ts'

let compiled: IHasher | undefined
// A few milliseconds after the start, and JavaScript answers until then: nobody who imports this has to wait. Where there is
// no WebAssembly it stays so.
createKeccak(256).then(
  (hasher) => {
    compiled = hasher
  },
  () => undefined,
)

/** WebAssembly, nine times as fast as JavaScript. */
export const keccak256: Keccak256 = (bytes) =>
  compiled ? compiled.init().update(bytes).digest('binary') : noble(bytes)
