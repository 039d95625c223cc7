import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import type { PublicClient } from 'viem'
import type { AccountAdapter } from '../accounts/accountAdapter.ts'
import { type Bundler, type Fees, withCallGasMargin } from '../rpc/bundler.ts'
import type { Sponsor } from '../rpc/sponsor.ts'
import { hashUserOperation } from './hashUserOperation.ts'
import type { UserOperation } from './userOperation.ts'

export type PrepareClients = {
  chain: Pick<PublicClient, 'readContract'>
  bundler: Pick<Bundler, 'fees' | 'estimate'>
  sponsor: Sponsor
}

export type PrepareParams = {
  chainId: number
  adapter: AccountAdapter
  account: Address
  /** Zero: the owner. */
  validator: Address
  lane: number
  /** The lane's next by default. The one of an operation that waits: this one replaces it. */
  nonce?: bigint | undefined
  /** What the bundler asks for now by default. */
  fees?: Fees | undefined
  callData: Hex
  factory?: { address: Address; data: Hex } | undefined
  /** Signs the raw userOpHash: 65 bytes r, s, v. */
  sign(userOpHash: Hex): Promise<Hex>
}

export type PreparedUserOperation = { userOperation: UserOperation; userOpHash: Hex }

/** Nonce, fees, gas, sponsorship and signature, in the order in which each needs the ones before. Sends nothing. */
export async function prepareUserOperation(
  { chain, bundler, sponsor }: PrepareClients,
  params: PrepareParams,
): Promise<PreparedUserOperation> {
  const { chainId, adapter, account, validator, lane, callData, factory, sign } = params
  const { entryPoint } = adapter
  const [nonce, fees] = await Promise.all([
    params.nonce ?? readNonce(chain, { adapter, account, validator, lane }),
    params.fees ?? bundler.fees(),
  ])
  const bare: UserOperation = {
    sender: account,
    nonce,
    ...(factory && { factory: factory.address, factoryData: factory.data }),
    callData,
    callGasLimit: 0n,
    verificationGasLimit: 0n,
    preVerificationGas: 0n,
    ...fees,
    signature: adapter.dummySignature,
  }
  const stubbed = { ...bare, ...(await sponsor.stub(bare)) }
  const measured = { ...stubbed, ...withCallGasMargin(await bundler.estimate(stubbed)) }
  const sponsored = { ...measured, ...(await sponsor.sponsor(measured)) }
  const userOpHash = hashUserOperation({ chainId, entryPoint }, sponsored)
  return { userOperation: { ...sponsored, signature: await sign(userOpHash) }, userOpHash }
}

/** The next nonce of a lane. */
export function readNonce(
  chain: Pick<PublicClient, 'readContract'>,
  params: { adapter: AccountAdapter; account: Address; validator: Address; lane: number },
): Promise<bigint> {
  const { adapter, account, validator, lane } = params
  return chain.readContract({
    abi: entryPointAbi,
    address: adapter.entryPoint.address,
    functionName: 'getNonce',
    args: [account, adapter.nonceKey(validator, lane)],
  })
}
