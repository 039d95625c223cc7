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
  const publicClient: PublicClient = createPublicClient({
    chain: foundry,
    transport,
    pollingInterval: 20,
    cacheTime: 0,
  })
  return {
    publicClient: {
      ...publicClient,
      // While viem looks into a block for what replaced a transaction, it overhears the next block. Where blocks come with
      // transactions alone there may be no other, and nobody replaces any.
      waitForTransactionReceipt: (of) => publicClient.waitForTransactionReceipt({ checkReplacement: false, ...of }),
    },
    walletClient: createWalletClient({ chain: foundry, transport, account, pollingInterval: 20 }),
  }
}
