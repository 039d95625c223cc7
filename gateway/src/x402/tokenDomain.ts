import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import type { Address } from '@protocolbanks/stream-protocol'
import type { PublicClient } from 'viem'
import { eip3009Abi } from './eip3009Abi.ts'

/** The token's EIP-712 domain as it says itself: by ERC-5267, else by `name` and `version`. @throws what viem says */
export async function readTokenDomain(
  client: Pick<PublicClient, 'readContract'>,
  { token, chainId }: { token: Address; chainId: number },
): Promise<TokenDomain> {
  const contract = { address: token, abi: eip3009Abi } as const
  try {
    const [, name, version] = await client.readContract({ ...contract, functionName: 'eip712Domain' })
    return { name, version, chainId }
  } catch {
    const name = await client.readContract({ ...contract, functionName: 'name' })
    const version = await client.readContract({ ...contract, functionName: 'version' })
    return { name, version, chainId }
  }
}
