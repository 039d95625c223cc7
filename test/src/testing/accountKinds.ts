import {
  type AccountAdapter,
  type Bundler,
  type Safe7579Contracts,
  safe7579,
  streamAccount,
  toSafe7579SmartAccount,
  toStreamSmartAccount,
} from '@protocolbanks/stream-bundler-client'
import type { Address } from '@protocolbanks/stream-protocol'
import type { PublicClient } from 'viem'
import type { SmartAccount } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'

/** A kind of account that the tests run the whole story on, and how a new one of it comes to be. */
export type AccountKind = {
  title: string
  adapter: AccountAdapter
  /** A new account of a new owner, not deployed yet. */
  create(chain: AccountChain): Promise<SmartAccount>
}

export type AccountChain = {
  client: PublicClient
  /** Of the adapter's EntryPoint. */
  bundler: Pick<Bundler, 'estimate'>
  streamAccountFactory: Address
  safe7579: Safe7579Contracts
}

export const accountKinds: readonly AccountKind[] = [
  {
    title: 'StreamAccount',
    adapter: streamAccount(),
    create: ({ client, bundler, streamAccountFactory: factory }) =>
      toStreamSmartAccount({ client, bundler, factory, owner: newOwner() }),
  },
  {
    title: 'Safe7579 with one owner',
    adapter: safe7579(),
    create: (chain) => createSafe(chain, [newOwner()], 1),
  },
  {
    title: 'Safe7579 with two of three owners',
    adapter: safe7579(),
    create: (chain) => createSafe(chain, [newOwner(), newOwner(), newOwner()], 2),
  },
]

function createSafe(
  { client, bundler, safe7579: contracts }: AccountChain,
  signers: ReturnType<typeof newOwner>[],
  threshold: number,
): Promise<SmartAccount> {
  const id = { owners: signers.map(({ address }) => address), threshold, saltNonce: 0n }
  return toSafe7579SmartAccount({ client, bundler, contracts, id, signers })
}

function newOwner() {
  return privateKeyToAccount(generatePrivateKey())
}
