import type { Safe7579Contracts } from '@protocolbanks/stream-bundler-client'
import type { Address } from 'viem'
import type { ChainClients } from './chainClients.ts'
import { setUpPaymaster07 } from './contracts.ts'
import { deployEntryPoint } from './entryPoint.ts'
import { deploySafe7579 } from './safe7579.ts'

/** What Safes need to have budgets: they run on EntryPoint v0.7, which has a paymaster of its own. */
export type DevSafes = {
  /** v0.7. */
  entryPoint: Address
  /** Ours, on that EntryPoint. */
  sponsorPaymaster: Address
  contracts: Safe7579Contracts
}

/** Deploys all of it. The first time on a machine it asks the npm registry for Safe's code. */
export async function setUpSafes(clients: ChainClients): Promise<DevSafes> {
  // One after the other: the operator's transactions have consecutive nonces.
  const entryPoint = await deployEntryPoint(clients, '0.7')
  const sponsorPaymaster = await setUpPaymaster07(clients, entryPoint)
  const contracts = await deploySafe7579(clients)
  return { entryPoint, sponsorPaymaster, contracts }
}

/** What settlement and the paymaster have to know to serve Safes, by their names in the environment. */
export function safesEnv({ entryPoint, sponsorPaymaster, contracts }: DevSafes): Record<string, string> {
  return {
    ENTRY_POINT_07: entryPoint,
    SPONSOR_PAYMASTER_07: sponsorPaymaster,
    SAFE_PROXY_FACTORY: contracts.proxyFactory,
  }
}
