import type { Address } from '@protocolbanks/stream-protocol'
import { zeroHash } from 'viem'

/** EIP-712 domain of one StreamAccount: what its owner's signatures are nested in (ERC-7739). */
export function streamAccountDomain({ account, chainId }: { account: Address; chainId: number }) {
  return {
    name: 'Protocol Banks Stream Account',
    version: '1',
    chainId,
    verifyingContract: account,
    salt: zeroHash,
  } as const
}
