import { type Anvil, type DevContracts, devAccounts } from '@protocolbanks/stream-dev'
import type { Address } from 'viem'
import type { ProcessName, ServiceName, WireName } from './fault.ts'
import type { Wire } from './parts/createWire.ts'

/** What the services have to know of each other. */
export type Surroundings = {
  chain: Pick<Anvil, 'chainId'>
  entryPoint: Address
  contracts: DevContracts
  wires: Record<WireName, Wire>
  urls: Record<ProcessName, string>
  operatorApiKey: string
}

/**
 * A service's configuration. It reaches everything over wires of its own. Nothing is slower or more patient than in a
 * deployment; polls are shorter, so that a run has many settlements.
 */
export function environmentOf(name: ServiceName, surroundings: Surroundings): Record<string, string> {
  const { chain, contracts, entryPoint, wires, urls, operatorApiKey } = surroundings
  const way = (to: string) => wires[`${name}>${to}` as WireName].url
  const common = {
    DATABASE_URL: way('postgres'),
    RPC_URL: way('chain'),
    CHAIN_ID: `${chain.chainId}`,
    LOG_LEVEL: 'info',
    SESSION_MODULE: contracts.sessionKeyValidator,
    ENTRY_POINT: entryPoint,
    TOKEN: contracts.testUsdc,
  }
  switch (name) {
    case 'gateway-1':
    case 'gateway-2':
      return {
        ...common,
        REDIS_URL: way('redis'),
        OPERATOR_API_KEY: operatorApiKey,
        SETTLER_ADDRESS: devAccounts.settler.address,
        // Both have one name for the agents, as behind a balancer.
        PUBLIC_URL: urls['gateway-1'],
        INDEXER_POLL_MS: '500',
        RECONCILE_PATIENCE_SECONDS: '10',
      }
    case 'settlement-1':
    case 'settlement-2':
      return {
        ...common,
        BUNDLER_URL: way('bundler'),
        PAYMASTER_URL: way('paymaster'),
        PAYMASTER_API_KEY: operatorApiKey,
        SETTLER_KEY: devAccounts.settler.privateKey,
        POLL_MS: '500',
      }
    case 'paymaster':
      return {
        ...common,
        OPERATOR_API_KEY: operatorApiKey,
        SPONSOR_PAYMASTER: contracts.sponsorPaymaster,
        PAYMASTER_SIGNER_KEY: devAccounts.paymasterSigner.privateKey,
        ACCOUNT_FACTORY: contracts.streamAccountFactory,
        OPERATOR_GAS_BUDGET_WEI_PER_DAY: `${10n ** 20n}`,
        POLL_MS: '1000',
      }
  }
}
