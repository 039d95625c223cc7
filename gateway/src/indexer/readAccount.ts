import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { erc20Abi, type PublicClient } from 'viem'

/** An account in the module and in its token, at one block. Amounts in base units. */
export type AccountReading = {
  balance: bigint
  allowance: bigint
  guardian: Address
  epoch: bigint
  installed: boolean
  frozen: boolean
  grants: GrantReading[]
}

export type GrantReading = {
  grantId: Hex
  status: 'none' | 'active' | 'frozen' | 'revoked'
  settled: bigint
  periodIndex: number
  periodSettled: bigint
}

/** Order of the contract's enum. */
const statuses = ['none', 'active', 'frozen', 'revoked'] as const

type Subject = { account: Address; grants: { grantId: Hex; epoch: bigint }[] }

/**
 * Reads everything that the mirror holds of an account, at one block. A grant of an earlier epoch, or of an account that
 * took the module off, is revoked whatever its own slot says. The client batches the calls.
 */
export async function readAccount(
  client: PublicClient,
  { module, token, blockNumber }: { module: Address; token: Address; blockNumber: bigint },
  { account, grants }: Subject,
): Promise<AccountReading> {
  const at = { address: module, abi: sessionKeyValidatorAbi, blockNumber } as const
  const inToken = { address: token, abi: erc20Abi, blockNumber } as const
  const [[guardian, epoch, installed, frozen], balance, allowance, ...states] = await Promise.all([
    client.readContract({ ...at, functionName: 'accountState', args: [account] }),
    client.readContract({ ...inToken, functionName: 'balanceOf', args: [account] }),
    client.readContract({ ...inToken, functionName: 'allowance', args: [account, module] }),
    ...grants.map(({ grantId }) =>
      client.readContract({ ...at, functionName: 'grantState', args: [account, grantId] }),
    ),
  ])
  return {
    balance,
    allowance,
    guardian,
    epoch,
    installed,
    frozen,
    grants: grants.map((grant, index) => {
      const [status = 0, settled = 0n, periodIndex = 0, periodSettled = 0n] = states[index] ?? []
      const own = statuses[status] ?? 'none'
      const isDead = own !== 'none' && (!installed || grant.epoch !== epoch)
      return { grantId: grant.grantId, status: isDead ? 'revoked' : own, settled, periodIndex, periodSettled }
    }),
  }
}
