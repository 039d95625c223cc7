import type { Grant } from '@protocolbanks/stream-db'
import type { Address, BaseError } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import type { PublicClient } from 'viem'
import { GrantEndedError, GrantFrozenError } from './errors.ts'

// Status of contracts/src/interfaces/ISessionKeyValidator.sol.
const active = 1
const frozen = 2

/**
 * Why the module would not settle the grant now, asked of the chain; undefined when it would. For a refusal whose own
 * words only say that validation failed.
 */
export async function checkGrant(
  { chain, module, nowSeconds }: { chain: Pick<PublicClient, 'readContract'>; module: Address; nowSeconds: number },
  { grantId, account, epoch, validAfter, validUntil }: Grant,
): Promise<BaseError | undefined> {
  const contract = { abi: sessionKeyValidatorAbi, address: module } as const
  const [[, currentEpoch, installed, accountFrozen], [status]] = await Promise.all([
    chain.readContract({ ...contract, functionName: 'accountState', args: [account] }),
    chain.readContract({ ...contract, functionName: 'grantState', args: [account, grantId] }),
  ])
  if (currentEpoch !== epoch || !installed) return new GrantEndedError({ grantId, code: 'grant.revoked' })
  if (status !== active && status !== frozen) {
    return new GrantEndedError({ grantId, code: status === 0 ? 'grant.unknown' : 'grant.revoked' })
  }
  if (nowSeconds > validUntil || nowSeconds < validAfter) return new GrantEndedError({ grantId, code: 'grant.expired' })
  if (accountFrozen) return new GrantFrozenError({ grantId, what: 'account' })
  if (status === frozen) return new GrantFrozenError({ grantId, what: 'grant' })
  return undefined
}
