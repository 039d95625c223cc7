import { entryPoint07Address, entryPoint08Address } from 'viem/account-abstraction'
import type { EntryPoint } from './accountAdapter.ts'

/** EntryPoint v0.8 at its canonical address, the same on every chain. */
export const entryPoint08 = { version: '0.8', address: entryPoint08Address } as const satisfies EntryPoint

/** EntryPoint v0.7 at its canonical address, the same on every chain. */
export const entryPoint07 = { version: '0.7', address: entryPoint07Address } as const satisfies EntryPoint
