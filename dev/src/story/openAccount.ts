import {
  type Bundler,
  createBundler,
  entryPoint08,
  toDelegatedSmartAccount,
  toStreamSmartAccount,
} from '@protocolbanks/stream-bundler-client'
import type { Address, PrivateKeyAccount, SignedAuthorization } from 'viem'
import type { SmartAccount } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Stack } from '../stack/stack.ts'

/** `stream`: a StreamAccount, deployed for the owner. `7702`: the owner's EOA itself, which delegates to StreamAccount7702. */
export const accountKinds = ['stream', '7702'] as const
export type AccountKind = (typeof accountKinds)[number]

/** What the owner's key has signed so far. */
export type OwnerSignatures = {
  /** UserOperations, and anything else but authorisations. */
  operations: number
  /** EIP-7702 authorisations: an EOA needs one in its life. */
  authorizations: number
}

export type OwnedAccount = {
  account: SmartAccount
  owner: Address
  /** Of a UserOperation, as the bundler wants them: doubling what the chain shows would double it for the next one too. */
  fees(): ReturnType<Bundler['fees']>
  /** Goes along with the account's first UserOperation; undefined where the account is deployed instead. */
  signDelegation(): Promise<SignedAuthorization | undefined>
  signatures(): OwnerSignatures
}

/** An account of a new owner, who has a key and nothing else. Its first UserOperation makes it. */
export async function openAccount(
  { clients, contracts, bundler: { url }, chain }: Pick<Stack, 'clients' | 'contracts' | 'bundler' | 'chain'>,
  kind: AccountKind,
): Promise<OwnedAccount> {
  const client = clients.publicClient
  const { owner, signatures } = countSignatures(privateKeyToAccount(generatePrivateKey()))
  const bundler = createBundler({ url, chainId: chain.chainId, entryPoint: entryPoint08, chain: client })
  if (kind === '7702') {
    const implementation = contracts.streamAccount7702Implementation
    const account = await toDelegatedSmartAccount({ client, owner, implementation, bundler })
    return { account, owner: owner.address, fees: bundler.fees, signDelegation: account.signDelegation, signatures }
  }
  const account = await toStreamSmartAccount({ client, owner, factory: contracts.streamAccountFactory, bundler })
  return { account, owner: owner.address, fees: bundler.fees, signDelegation: async () => undefined, signatures }
}

/** The same key; every use of it is counted. */
function countSignatures(key: PrivateKeyAccount): { owner: PrivateKeyAccount; signatures(): OwnerSignatures } {
  const used = { operations: 0, authorizations: 0 }
  const counted = <parameters extends unknown[], result>(
    what: keyof OwnerSignatures,
    sign: (...parameters: parameters) => result,
  ) => {
    return (...parameters: parameters): result => {
      used[what]++
      return sign(...parameters)
    }
  }
  const owner: PrivateKeyAccount = {
    ...key,
    sign: counted('operations', key.sign),
    signAuthorization: counted('authorizations', key.signAuthorization),
    signMessage: counted('operations', key.signMessage),
    signTransaction: counted('operations', key.signTransaction) as PrivateKeyAccount['signTransaction'],
    signTypedData: counted('operations', key.signTypedData) as PrivateKeyAccount['signTypedData'],
  }
  return { owner, signatures: () => ({ ...used }) }
}
