import { entryPoint08Address } from 'viem/account-abstraction'
import type { EntryPoint } from './accountAdapter.ts'

/** EntryPoint v0.8 at its canonical address, the same on every chain. */
export const entryPoint08: EntryPoint = { version: '0.8', address: entryPoint08Address }
