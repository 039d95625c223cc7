import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import {
  concatHex,
  hashMessage,
  hashTypedData,
  type LocalAccount,
  parseAbi,
  type TypedData,
  type TypedDataDefinition,
  zeroAddress,
} from 'viem'
import { type SmartAccount, type SmartAccountImplementation, toSmartAccount } from 'viem/account-abstraction'
import { getChainId, readContract } from 'viem/actions'
import { decodeExecute } from '../calls/decodeExecute.ts'
import { type Bundler, withCallGasMargin } from '../rpc/bundler.ts'
import type { UserOperation } from '../userOperation/userOperation.ts'
import { dummySignature } from './dummySignature.ts'
import { entryPoint07 } from './entryPoint.ts'
import { hashSafeOperation, packSafeSignature } from './hashSafeOperation.ts'
import { ownerLane } from './ownerLane.ts'
import { safe7579 } from './safe7579.ts'
import { predictSafe7579, type Safe7579Contracts, type Safe7579Id, safe7579FactoryData } from './safe7579Factory.ts'

export type ToSafe7579SmartAccountParams = {
  /** Reads the chain. */
  client: SmartAccountImplementation['client']
  contracts: Safe7579Contracts
  /** Which Safe. Its first UserOperation deploys it. */
  id: Safe7579Id
  /** Keys of at least `threshold` of the owners, that sign raw hashes. More are not asked. */
  signers: readonly LocalAccount[]
  /**
   * Estimates the gas of operations, with a margin for their calls and signatures. Without it viem takes its bundler's
   * bare estimate, which is enough for one signature only.
   */
  bundler?: Pick<Bundler, 'estimate'> | undefined
}

export type Safe7579SmartAccountImplementation = SmartAccountImplementation<typeof entryPointAbi, '0.7'>
export type Safe7579SmartAccount = SmartAccount<Safe7579SmartAccountImplementation>

/**
 * A Safe with the Safe7579 adapter as viem's `SmartAccount`, signed for by the Safe's own owners: it works with viem's
 * `createBundlerClient`. The first UserOperation deploys it.
 *
 * @throws MissingSignersError
 * @example
 * const id = { owners: [owner.address], threshold: 1, saltNonce: 0n }
 * const account = await toSafe7579SmartAccount({ client, contracts, id, signers: [owner] })
 * await bundler.sendUserOperation({ account, calls: grantSetupCalls({ account: account.address, ... }) })
 */
export async function toSafe7579SmartAccount(params: ToSafe7579SmartAccountParams): Promise<Safe7579SmartAccount> {
  const { client, contracts, id, bundler } = params
  const signers = chooseSigners(id, params.signers)
  const adapter = safe7579()
  const proxyCreationCode = await readContract(client, {
    abi: parseAbi(['function proxyCreationCode() view returns (bytes)']),
    address: contracts.proxyFactory,
    functionName: 'proxyCreationCode',
  })
  const address = predictSafe7579(contracts, id, proxyCreationCode)
  const chainIdOf = async () => client.chain?.id ?? (await getChainId(client))
  const signAll = async (hash: Hex) => concatHex(await Promise.all(signers.map(({ sign }) => sign({ hash }))))
  /** ERC-1271: validator zero, then what the owners signed in the Safe's own form. */
  const signSafeMessage = async (hash: Hex) => {
    const wrapped = hashTypedData({
      domain: { chainId: await chainIdOf(), verifyingContract: address },
      types: { SafeMessage: [{ name: 'message', type: 'bytes' }] },
      primaryType: 'SafeMessage',
      message: { message: hash },
    })
    return concatHex([zeroAddress, await signAll(wrapped)])
  }

  return toSmartAccount<Safe7579SmartAccountImplementation>({
    client,
    entryPoint: { ...entryPoint07, abi: entryPointAbi },
    nonceKeyManager: ownerLane,
    getAddress: async () => address,
    getFactoryArgs: async () => ({ factory: contracts.proxyFactory, factoryData: safe7579FactoryData(contracts, id) }),
    encodeCalls: async (calls) =>
      adapter.encodeExecute(calls.map(({ to, data = '0x', value = 0n }) => ({ to, data, value }))),
    decodeCalls: async (data) => decodeExecute(data)?.calls ?? [],
    getStubSignature: async () => packSafeSignature(always, concatHex(signers.map(() => dummySignature))),
    ...(bundler && {
      userOperation: {
        async estimateGas(request) {
          const gas = withCallGasMargin(await bundler.estimate({ ...noGas, ...request } as UserOperation))
          const verificationGasLimit = gas.verificationGasLimit + signatureGas * BigInt(signers.length)
          return { ...gas, verificationGasLimit }
        },
      },
    }),
    signMessage: ({ message }) => signSafeMessage(hashMessage(message)),
    signTypedData: (parameters) => signSafeMessage(hashTypedData(parameters as TypedDataDefinition<TypedData, string>)),
    signUserOperation: async ({ chainId, ...op }) => {
      const where = {
        chainId: chainId ?? (await chainIdOf()),
        entryPoint: entryPoint07,
        verifyingContract: contracts.safe7579,
      }
      const hash = hashSafeOperation(where, { ...op, sender: op.sender ?? address } as UserOperation, always)
      return packSafeSignature(always, await signAll(hash))
    },
  })
}

/** The paymaster's signature bounds the operation in time already. */
const always = { validAfter: 0, validUntil: 0 }

/** To check one owner's signature. Estimation sees none but the first, because that one is not an owner's. */
const signatureGas = 10_000n

const noGas = { callGasLimit: 0n, verificationGasLimit: 0n, preVerificationGas: 0n }

type RawSigner = { sign(parameters: { hash: Hex }): Promise<Hex> }

/** As many as the Safe wants, in the order it wants. */
function chooseSigners({ owners, threshold }: Safe7579Id, signers: readonly LocalAccount[]): RawSigner[] {
  const owning = new Set(owners.map((owner) => owner.toLowerCase()))
  const able = new Map<bigint, RawSigner>()
  for (const { address, sign } of signers) {
    if (sign && owning.has(address.toLowerCase())) able.set(BigInt(address), { sign })
  }
  if (able.size < threshold) throw new MissingSignersError({ owners, threshold, able: able.size })
  const ascending = [...able].sort(([a], [b]) => (a < b ? -1 : 1))
  return ascending.slice(0, threshold).map(([, signer]) => signer)
}

export class MissingSignersError extends BaseError {
  override readonly code = 'account.missing_signers'
  constructor({ owners, threshold, able }: { owners: readonly Address[]; threshold: number; able: number }) {
    super('There are not enough keys to sign for the Safe.', {
      metaMessages: [
        `Threshold: ${threshold} of ${owners.length} owners`,
        `Keys of owners that can sign a hash: ${able}`,
        'Pass accounts made from private keys of the owners.',
      ],
      docsPath: '/errors#account-missing-signers',
    })
  }
}
