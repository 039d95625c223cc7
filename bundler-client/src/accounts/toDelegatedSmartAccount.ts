import type { Address } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { isAddressEqual, type PrivateKeyAccount, type SignedAuthorization } from 'viem'
import {
  getUserOperationTypedData,
  type SmartAccount,
  type SmartAccountImplementation,
  toSmartAccount,
  type UserOperation,
} from 'viem/account-abstraction'
import { getChainId, getDelegation, prepareAuthorization } from 'viem/actions'
import { decodeExecute } from '../calls/decodeExecute.ts'
import { type Bundler, withCallGasMargin } from '../rpc/bundler.ts'
import { delegationMarker } from '../userOperation/eip7702Authorization.ts'
import type { UserOperation as OwnOperation } from '../userOperation/userOperation.ts'
import type { EntryPoint } from './accountAdapter.ts'
import { dummySignature } from './dummySignature.ts'
import { entryPoint08 } from './entryPoint.ts'
import { ownerLane } from './ownerLane.ts'
import { streamAccount } from './streamAccount.ts'

export type ToDelegatedSmartAccountParams = {
  /** Reads the chain. */
  client: SmartAccountImplementation['client']
  /** The EOA: its key, and its address, which is the account's. */
  owner: PrivateKeyAccount
  /** StreamAccount7702, what the EOA delegates to. */
  implementation: Address
  /** EntryPoint v0.8 at another address. */
  entryPoint?: (EntryPoint & { version: '0.8' }) | undefined
  /** Estimates the gas of operations, with a margin for their calls; without it viem takes its bundler's bare estimate. */
  bundler?: Pick<Bundler, 'estimate'> | undefined
}

export type DelegatedSmartAccountImplementation = SmartAccountImplementation<
  typeof entryPointAbi,
  '0.8',
  {
    /** The EOA's authorisation for the next UserOperation; undefined when it delegates to the implementation already. */
    signDelegation(): Promise<SignedAuthorization | undefined>
  },
  true
>
export type DelegatedSmartAccount = SmartAccount<DelegatedSmartAccountImplementation>

/**
 * An EOA that delegates to StreamAccount7702 (EIP-7702) as viem's `SmartAccount`: it works with viem's
 * `createBundlerClient`. Its first UserOperation delegates, with an authorisation that the EOA signs for it; it needs no
 * ETH. Messages and typed data it signs as it always did, so that they are valid with the delegation and without.
 *
 * @example
 * const account = await toDelegatedSmartAccount({ client, owner: privateKeyToAccount(key), implementation })
 * const bundler = createBundlerClient({ account, client, transport: http(bundlerUrl), paymaster })
 * const authorization = await account.signDelegation()
 * await bundler.sendUserOperation({ calls: grantSetupCalls({ account: account.address, ... }), authorization })
 */
export async function toDelegatedSmartAccount(params: ToDelegatedSmartAccountParams): Promise<DelegatedSmartAccount> {
  const { client, owner, implementation, entryPoint = entryPoint08, bundler } = params
  const adapter = streamAccount(entryPoint)
  const { address } = owner

  /** Whether the EOA runs our code, not only some code: viem's question whether there is any would not do. */
  async function isDeployed(): Promise<boolean> {
    const delegate = await getDelegation(client, { address })
    return delegate !== undefined && isAddressEqual(delegate, implementation)
  }

  const account = await toSmartAccount<DelegatedSmartAccountImplementation>({
    client,
    entryPoint: { ...entryPoint, abi: entryPointAbi },
    authorization: { account: owner, address: implementation },
    nonceKeyManager: ownerLane,
    getAddress: async () => address,
    getFactoryArgs: async () => ({ factory: delegationMarker, factoryData: '0x' }),
    encodeCalls: async (calls) =>
      adapter.encodeExecute(calls.map(({ to, data = '0x', value = 0n }) => ({ to, data, value }))),
    decodeCalls: async (data) => decodeExecute(data)?.calls ?? [],
    getStubSignature: async () => dummySignature,
    ...(bundler && {
      userOperation: {
        estimateGas: async ({ authorization, ...request }) =>
          withCallGasMargin(
            await bundler.estimate({ ...noGas, ...request, eip7702Auth: authorization } as OwnOperation),
          ),
      },
    }),
    signMessage: ({ message }) => owner.signMessage({ message }),
    signTypedData: (definition) => owner.signTypedData(definition),
    signUserOperation: async ({ chainId, ...userOperation }) =>
      owner.signTypedData(
        getUserOperationTypedData({
          chainId: chainId ?? client.chain?.id ?? (await getChainId(client)),
          entryPointAddress: entryPoint.address,
          userOperation: { ...userOperation, sender: address } as UserOperation<'0.8'>,
        }),
      ),
    extend: {
      async signDelegation() {
        if (await isDeployed()) return undefined
        return owner.signAuthorization(await prepareAuthorization(client, { account: owner, address: implementation }))
      },
    },
  })
  return { ...account, isDeployed }
}

const noGas = { callGasLimit: 0n, verificationGasLimit: 0n, preVerificationGas: 0n }
