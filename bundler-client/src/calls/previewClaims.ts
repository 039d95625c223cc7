import {
  type Address,
  type Claim,
  type GrantTerms,
  type Hex,
  packClaims,
  packTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionResult, encodeFunctionData, type PublicClient } from 'viem'

/**
 * What the module would pay for each of a grant's claims at a block, in their order, base units: as many settlements of one
 * claim each, tried out one after the other in one call. 0n: it would skip this one, or settle nothing of the grant.
 *
 * @throws what viem says when the node does not answer
 */
export async function previewClaims(
  chain: Pick<PublicClient, 'call'>,
  params: { module: Address; account: Address; terms: GrantTerms; claims: readonly Claim[]; blockNumber: bigint },
): Promise<readonly bigint[]> {
  const { module, account, terms, claims, blockNumber } = params
  const packed = packTerms(terms)
  const data = encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'settleMany',
    args: [claims.map((claim) => ({ account, terms: packed, claims: packClaims([claim]) }))],
  })
  const answer: { data?: Hex | undefined } = await chain.call({ to: module, data, blockNumber })
  return decodeFunctionResult({ abi: sessionKeyValidatorAbi, functionName: 'settleMany', data: answer.data ?? '0x' })
}
