import type { Hex } from 'viem'
import type { FaultDetails } from '../fault.ts'
import type { World } from '../world.ts'

type Reorganisation = Extract<FaultDetails, { kind: 'reorganisation' }>

/** The newest blocks are replaced: by empty ones, or by ones that have each transaction a block later, as far as there is one. */
export async function reorganise(
  { clients: { publicClient } }: Pick<World, 'clients'>,
  { depth, transactions }: Reorganisation,
): Promise<void> {
  const head = await publicClient.getBlockNumber({ cacheTime: 0 })
  const kept: [Hex, number][] = []
  if (transactions === 'kept') {
    for (let offset = 0; offset < depth; offset++) {
      const { transactions: hashes } = await publicClient.getBlock({ blockNumber: head - BigInt(depth - 1 - offset) })
      for (const hash of hashes) {
        const raw = await request<Hex>('eth_getRawTransactionByHash', [hash])
        kept.push([raw, Math.min(offset + 1, depth - 1)])
      }
    }
  }
  await request('anvil_reorg', [depth, kept])

  function request<answer>(method: string, params: unknown[]): Promise<answer> {
    return publicClient.request({ method: method as never, params: params as never }) as Promise<answer>
  }
}
