import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { encodeFunctionData } from 'viem'
import type { Call } from './call.ts'
import type { ReserveTarget } from './reserveCalls.ts'
import type { TokenDomain } from './tokenDomain.ts'

/** A deposit of the account's own tokens into its own pool, which it signs and anybody sends. */
export type DepositPermit = ReserveTarget & {
  /** Signs, pays and is credited. */
  account: Address
  /** Base units, above zero, at most uint96. */
  amount: bigint
  /** Unix seconds, inclusive. */
  deadline: bigint
}

/**
 * Typed data of EIP-2612's `Permit` for a deposit. `nonce` is the account's next one, `token.nonces(account)`.
 *
 * @example
 * const signature = await account.signTypedData(toDepositPermitData({ ...permit, nonce }, usdcDomain))
 * // Anybody: send depositWithPermitCall({ ...permit, signature })
 */
export function toDepositPermitData(permit: DepositPermit & { nonce: bigint }, domain: TokenDomain) {
  const { reserve, token, account, amount, deadline, nonce } = permit
  return {
    domain: { ...domain, verifyingContract: token },
    types: {
      Permit: [
        { name: 'owner', type: 'address' },
        { name: 'spender', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'nonce', type: 'uint256' },
        { name: 'deadline', type: 'uint256' },
      ],
    },
    primaryType: 'Permit',
    message: { owner: account, spender: reserve, value: amount, nonce, deadline },
  } as const
}

/** By anybody. */
export function depositWithPermitCall(signed: DepositPermit & { signature: Hex }): Call {
  const { reserve, token, account, amount, deadline, signature } = signed
  const data = encodeFunctionData({
    abi: prepaidReserveAbi,
    functionName: 'depositWithPermit',
    args: [account, token, amount, deadline, signature],
  })
  return { to: reserve, value: 0n, data }
}
