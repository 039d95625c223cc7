import type { Stack } from '@protocolbanks/stream-dev'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import type { Budget } from './giveBudget.ts'

const statuses = ['none', 'active', 'frozen', 'revoked'] as const

/** What the module says of a grant. */
export async function grantOnChain(
  { clients, contracts }: Pick<Stack, 'clients' | 'contracts'>,
  { account, grantId }: Pick<Budget, 'account' | 'grantId'>,
): Promise<{ status: (typeof statuses)[number] | undefined; settled: bigint }> {
  const [status, settled] = await clients.publicClient.readContract({
    address: contracts.sessionKeyValidator,
    abi: sessionKeyValidatorAbi,
    functionName: 'grantState',
    args: [account.address, grantId],
  })
  return { status: statuses[status], settled }
}
