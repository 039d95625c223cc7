import type { Address } from '@protocolbanks/stream-protocol'

/** The one chain and module this gateway is paid on. */
export type Chain = { chainId: number; module: Address; settler: Address; token: Address; entryPoint: Address }

/** CAIP-2 name of the chain, as x402 writes it. */
export function networkOf({ chainId }: Pick<Chain, 'chainId'>): string {
  return `eip155:${chainId}`
}
