import {
  type Account,
  type Chain,
  createPublicClient,
  createWalletClient,
  http,
  type PublicClient,
  type Transport,
  type WalletClient,
} from 'viem'
import { foundry } from 'viem/chains'

export type ChainClients = {
  publicClient: PublicClient
  walletClient: WalletClient<Transport, Chain, Account>
}

/** Clients for the development chain at `url`; `account` pays for the transactions. */
export function createChainClients(url: string, account: Account): ChainClients {
  const transport = http(url)
  return {
    publicClient: createPublicClient({ chain: foundry, transport, pollingInterval: 20, cacheTime: 0 }),
    walletClient: createWalletClient({ chain: foundry, transport, account, pollingInterval: 20 }),
  }
}
