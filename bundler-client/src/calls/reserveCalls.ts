import type { Address } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { type ContractFunctionArgs, encodeFunctionData, erc20Abi } from 'viem'
import type { Call } from './call.ts'

/** One pool of the reserve (see `reserveOf`) is one account's in one token. Amounts are base units, up to uint96. */
export type ReserveTarget = { reserve: Address; token: Address }

/** Functions that move an account's own money in or out of its pool, none of which pays anybody else for a grant. */
export const reserveFunctions = ['deposit', 'requestWithdrawal', 'cancelWithdrawal', 'withdraw'] as const
export type ReserveFunction = (typeof reserveFunctions)[number]

/** The caller lets the reserve take so much for a deposit. */
export function approveReserveCall({ reserve, token, amount }: ReserveTarget & { amount: bigint }): Call {
  const data = encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args: [reserve, amount] })
  return { to: token, value: 0n, data }
}

/** Tokens of the caller, who approved them to the reserve, into the pool of `account`. */
export function depositCall(params: ReserveTarget & { account: Address; amount: bigint }): Call {
  const { reserve, token, account, amount } = params
  return call(reserve, 'deposit', [account, token, amount])
}

/**
 * By the account: asks for so much of its pool back, which it can take a day later. Replaces an earlier request. From
 * then on gateways serve from the rest alone; vouchers given before are paid from the whole.
 */
export function requestWithdrawalCall({ reserve, token, amount }: ReserveTarget & { amount: bigint }): Call {
  return call(reserve, 'requestWithdrawal', [token, amount])
}

/** By the account. */
export function cancelWithdrawalCall({ reserve, token }: ReserveTarget): Call {
  return call(reserve, 'cancelWithdrawal', [token])
}

/** By the account, after the delay: pays `to` what was asked back, or what vouchers left of it. */
export function withdrawCall({ reserve, token, to }: ReserveTarget & { to: Address }): Call {
  return call(reserve, 'withdraw', [token, to])
}

function call<const name extends ReserveFunction>(
  reserve: Address,
  functionName: name,
  args: ContractFunctionArgs<typeof prepaidReserveAbi, 'nonpayable', name>,
): Call {
  const data = encodeFunctionData({ abi: prepaidReserveAbi, functionName, args } as Parameters<
    typeof encodeFunctionData
  >[0])
  return { to: reserve, value: 0n, data }
}
