/**
 * Fields of `TransferWithAuthorization` and `ReceiveWithAuthorization` (EIP-3009), in their order: EIP-712 types of what
 * an owner of tokens signs, so that somebody else moves them.
 */
export const authorizationFields = [
  { name: 'from', type: 'address' },
  { name: 'to', type: 'address' },
  { name: 'value', type: 'uint256' },
  { name: 'validAfter', type: 'uint256' },
  { name: 'validBefore', type: 'uint256' },
  { name: 'nonce', type: 'bytes32' },
] as const
