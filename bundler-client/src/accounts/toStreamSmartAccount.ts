import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { type LocalAccount, type TypedData, type TypedDataDefinition, zeroHash } from 'viem'
import {
  getUserOperationHash,
  type SmartAccount,
  type SmartAccountImplementation,
  toSmartAccount,
  type UserOperation,
} from 'viem/account-abstraction'
import { getChainId, readContract } from 'viem/actions'
import { hashMessage, hashTypedData, wrapTypedDataSignature } from 'viem/experimental/erc7739'
import { decodeExecute } from '../calls/decodeExecute.ts'
import { type Bundler, withCallGasMargin } from '../rpc/bundler.ts'
import type { UserOperation as OwnOperation } from '../userOperation/userOperation.ts'
import type { EntryPoint } from './accountAdapter.ts'
import { dummySignature } from './dummySignature.ts'
import { entryPoint08 } from './entryPoint.ts'
import { ownerLane } from './ownerLane.ts'
import { streamAccount } from './streamAccount.ts'
import { streamAccountDomain } from './streamAccountDomain.ts'
import { streamAccountFactoryData } from './streamAccountFactory.ts'

export type ToStreamSmartAccountParams = {
  /** Reads the chain. */
  client: SmartAccountImplementation['client']
  /** Signs with a raw key: a hash, not only messages. */
  owner: LocalAccount
  /** 32 bytes; zero by default. */
  salt?: Hex | undefined
  /** StreamAccountFactory. */
  factory: Address
  /** EntryPoint v0.8 at another address. */
  entryPoint?: (EntryPoint & { version: '0.8' }) | undefined
  /** Estimates the gas of operations, with a margin for their calls; without it viem takes its bundler's bare estimate. */
  bundler?: Pick<Bundler, 'estimate'> | undefined
}

export type StreamSmartAccountImplementation = SmartAccountImplementation<typeof entryPointAbi, '0.8'>
export type StreamSmartAccount = SmartAccount<StreamSmartAccountImplementation>

/**
 * A StreamAccount as viem's `SmartAccount`: it works with viem's `createBundlerClient` and with permissionless. The
 * first UserOperation deploys it.
 *
 * @example
 * const account = await toStreamSmartAccount({ client, owner: privateKeyToAccount(key), factory })
 * const bundler = createBundlerClient({ account, client, transport: http(bundlerUrl), paymaster })
 * await bundler.sendUserOperation({ calls: grantSetupCalls({ account: account.address, ... }) })
 */
export async function toStreamSmartAccount(params: ToStreamSmartAccountParams): Promise<StreamSmartAccount> {
  const { client, owner, salt = zeroHash, factory, entryPoint = entryPoint08, bundler } = params
  if (!owner.sign) throw new TypeError('The owner cannot sign a hash. Use an account made from a private key.')
  const sign = owner.sign
  const adapter = streamAccount(entryPoint)
  const address = await readContract(client, {
    abi: streamAccountFactoryAbi,
    address: factory,
    functionName: 'getAddress',
    args: [owner.address, salt],
  })
  const chainIdOf = async () => client.chain?.id ?? (await getChainId(client))

  return toSmartAccount<StreamSmartAccountImplementation>({
    client,
    entryPoint: { ...entryPoint, abi: entryPointAbi },
    nonceKeyManager: ownerLane,
    getAddress: async () => address,
    getFactoryArgs: async () => ({ factory, factoryData: streamAccountFactoryData({ owner: owner.address, salt }) }),
    encodeCalls: async (calls) =>
      adapter.encodeExecute(calls.map(({ to, data = '0x', value = 0n }) => ({ to, data, value }))),
    decodeCalls: async (data) => decodeExecute(data)?.calls ?? [],
    getStubSignature: async () => dummySignature,
    ...(bundler && {
      userOperation: {
        estimateGas: async (request) =>
          withCallGasMargin(await bundler.estimate({ ...noGas, ...request } as OwnOperation)),
      },
    }),
    // ERC-7739: nested in the account's domain, so that a signature for one account is none for the owner's others.
    signMessage: async ({ message }) => {
      const verifierDomain = streamAccountDomain({ account: address, chainId: await chainIdOf() })
      return sign({ hash: hashMessage({ message, verifierDomain }) })
    },
    signTypedData: async (parameters) => {
      const definition = parameters as TypedDataDefinition<TypedData, string>
      const verifierDomain = streamAccountDomain({ account: address, chainId: await chainIdOf() })
      const signature = await sign({ hash: hashTypedData({ ...definition, verifierDomain }) })
      return wrapTypedDataSignature({ ...definition, signature })
    },
    signUserOperation: async ({ chainId, ...userOperation }) => {
      const hash = getUserOperationHash({
        chainId: chainId ?? (await chainIdOf()),
        entryPointAddress: entryPoint.address,
        entryPointVersion: entryPoint.version,
        userOperation: { ...userOperation, sender: userOperation.sender ?? address } as UserOperation<'0.8'>,
      })
      return sign({ hash })
    },
  })
}

const noGas = { callGasLimit: 0n, verificationGasLimit: 0n, preVerificationGas: 0n }
