import type { Address, Hex } from 'viem'

/** "payee may have up to `cumulativeAmount` in total under this grant". */
export type Voucher = {
  grantId: Hex
  payee: Address
  /** Base units, uint128. */
  cumulativeAmount: bigint
}

/** A voucher with the session key's 65-byte signature: r, s, v; low s. */
export type SignedVoucher = Voucher & { signature: Hex }

/** The EIP-712 domain's variable half. */
export type VoucherDomain = { chainId: number; module: Address }

/** EIP-712 types and domain, for wallets and viem's `signTypedData`. */
export const voucherTypes = {
  Voucher: [
    { name: 'grantId', type: 'bytes32' },
    { name: 'payee', type: 'address' },
    { name: 'cumulativeAmount', type: 'uint128' },
  ],
} as const

export const voucherDomainName = 'Protocol Banks Session'
export const voucherDomainVersion = '1'

export function voucherDomain({ chainId, module }: VoucherDomain) {
  return { name: voucherDomainName, version: voucherDomainVersion, chainId, verifyingContract: module } as const
}
