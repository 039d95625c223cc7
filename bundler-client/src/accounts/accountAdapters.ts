import type { AccountAdapter, EntryPoint } from './accountAdapter.ts'
import { safe7579 } from './safe7579.ts'
import { streamAccount } from './streamAccount.ts'

/** Every account that is supported, at the EntryPoints' canonical addresses. A new one is a file beside, and a name here. */
export const accountAdapters: readonly AccountAdapter[] = [streamAccount(), safe7579()]

/** Those that run on one of these EntryPoints, at the address given here. */
export function adaptersOf(entryPoints: readonly EntryPoint[]): AccountAdapter[] {
  return accountAdapters.flatMap((adapter) => {
    const entryPoint = entryPoints.find(({ version }) => version === adapter.entryPoint.version)
    return entryPoint ? [{ ...adapter, entryPoint }] : []
  })
}
