import type { Address } from '@protocolbanks/stream-protocol'
import { ContractFunctionRevertedError, erc20Abi, type PublicClient, BaseError as ViemError } from 'viem'
import type { UnpaidReason } from './explainUnpaid.ts'

export type TokenQuestion = {
  token: Address
  /** Who pays: the account, or the reserve. */
  payer: Address
  payee: Address
  /** Nobody's: takes part in transfers of nothing. */
  neutral: Address
}

/**
 * Whom a token refuses, by transfers of nothing that are only tried out: tokens with a list of blocked addresses refuse
 * those too. `claim.token_refuses` also when neither side alone is the reason.
 *
 * @throws what viem says when the node does not answer
 */
export async function askToken(
  chain: Pick<PublicClient, 'simulateContract'>,
  { token, payer, payee, neutral }: TokenQuestion,
): Promise<UnpaidReason> {
  if (!(await takesTransfer(chain, token, neutral, neutral))) return 'claim.token_refuses'
  if (!(await takesTransfer(chain, token, neutral, payee))) return 'claim.payee_blocked'
  if (!(await takesTransfer(chain, token, payer, neutral))) return 'claim.account_blocked'
  return 'claim.token_refuses'
}

/** Whether the token takes a transfer of nothing from one to the other. */
export async function takesTransfer(
  chain: Pick<PublicClient, 'simulateContract'>,
  token: Address,
  from: Address,
  to: Address,
): Promise<boolean> {
  try {
    const call = { address: token, abi: erc20Abi, functionName: 'transfer', args: [to, 0n], account: from } as const
    const { result } = await chain.simulateContract(call)
    return result
  } catch (error) {
    if (!(error instanceof ViemError)) throw error
    if (error.walk((cause) => cause instanceof ContractFunctionRevertedError) !== null) return false
    // An old token that answers nothing.
    if (error.walk((cause) => cause instanceof Error && cause.name === 'AbiDecodingZeroDataError') !== null) return true
    throw error
  }
}
