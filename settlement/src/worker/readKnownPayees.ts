import type { SettlementWork } from '@protocolbanks/stream-db'
import { type Address, packTerms } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type PublicClient, BaseError as ViemError } from 'viem'

/**
 * Payees of a settlement whose claims need no proof, because the chain has paid them before under this grant, at a
 * block. Asked for the first attempt only: if that block is reorganised away, the claim is skipped, and the next attempt
 * has proofs. One question for all; when it is not answered there are none, because proofs always do.
 */
export async function readKnownPayees(
  chain: Pick<PublicClient, 'multicall'>,
  { grant, items }: Pick<SettlementWork, 'grant' | 'items'>,
  { module, blockNumber }: { module: Address; blockNumber: bigint },
): Promise<Set<Address>> {
  const payees = items.filter(({ payeeProof }) => payeeProof.length > 0).map(({ payee }) => payee)
  if (payees.length === 0) return new Set()
  const terms = packTerms(grant)
  const contract = { abi: sessionKeyValidatorAbi, address: module, functionName: 'channelSettled' } as const
  try {
    const settled = await chain.multicall({
      contracts: payees.map((payee) => ({ ...contract, args: [grant.account, terms, payee] as const })),
      allowFailure: false,
      blockNumber,
      // No contract has to be there for it, and one request is enough: a settlement has at most 64 claims.
      deployless: true,
      batchSize: 0,
    })
    return new Set(payees.filter((_, index) => (settled[index] ?? 0n) > 0n))
  } catch (error) {
    if (error instanceof ViemError) return new Set()
    throw error
  }
}
