import { type Address, authorizationFields, type Hex } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { encodeAbiParameters, encodeFunctionData, keccak256 } from 'viem'
import type { Call } from './call.ts'
import type { ReserveTarget } from './reserveCalls.ts'
import type { TokenDomain } from './tokenDomain.ts'

/** A deposit that whoever owns the money signs and anybody sends. */
export type DepositAuthorization = ReserveTarget & {
  /** Whose pool is filled. */
  account: Address
  /** Whose tokens they are, and who signs: an EOA, or an account that checks signatures by ERC-1271. */
  from: Address
  /** Base units, above zero, at most uint96. */
  amount: bigint
  /** Unix seconds; both exclusive. */
  validAfter: bigint
  validBefore: bigint
  /** 32 bytes that tell deposits by `from` into this pool apart; random. */
  salt: Hex
}

/**
 * Typed data of EIP-3009's `ReceiveWithAuthorization` for a deposit: topping a pool up is this one signature. Its nonce
 * commits to the account, so nobody can fill another pool with it; only the reserve can use it.
 *
 * @example
 * const authorization = { reserve, token, account, from: owner.address, amount, validAfter: 0n, validBefore, salt }
 * const signature = await owner.signTypedData(toDepositAuthorizationData(authorization, usdcDomain))
 * // Anybody: send depositWithAuthorizationCall({ ...authorization, signature })
 */
export function toDepositAuthorizationData(authorization: DepositAuthorization, domain: TokenDomain) {
  const { reserve, token, account, from, amount, validAfter, validBefore, salt } = authorization
  return {
    domain: { ...domain, verifyingContract: token },
    types: {
      ReceiveWithAuthorization: authorizationFields,
    },
    primaryType: 'ReceiveWithAuthorization',
    message: { from, to: reserve, value: amount, validAfter, validBefore, nonce: depositNonce(account, salt) },
  } as const
}

/** By anybody. */
export function depositWithAuthorizationCall(signed: DepositAuthorization & { signature: Hex }): Call {
  const { reserve, token, account, from, amount, validAfter, validBefore, salt, signature } = signed
  const data = encodeFunctionData({
    abi: prepaidReserveAbi,
    functionName: 'depositWithAuthorization',
    args: [account, token, from, amount, validAfter, validBefore, salt, signature],
  })
  return { to: reserve, value: 0n, data }
}

/** The reserve's `authorizationNonce`: by it the token remembers that the authorization was used. */
export function depositNonce(account: Address, salt: Hex): Hex {
  return keccak256(encodeAbiParameters([{ type: 'address' }, { type: 'bytes32' }], [account, salt]))
}
