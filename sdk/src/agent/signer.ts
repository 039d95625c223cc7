import { type Address, createVoucherHasher, type Hex, signVoucher, type Voucher } from '@protocolbanks/stream-protocol'
import { privateKeyToAddress } from 'viem/accounts'
import type { AgentGrant } from './grant.ts'

/** Signs vouchers with the session key, wherever it is kept. */
export type VoucherSigner = {
  /** Of the session key. */
  address: Address
  /** 65-byte signature of the EIP-712 voucher (r, s, v; low s). */
  sign(voucher: Voucher): Hex | Promise<Hex>
}

/** A private key in memory as a signer for vouchers of the grant's module; a signer as it is. */
export function toSigner(sessionKey: Hex | VoucherSigner, { chainId, module }: AgentGrant): VoucherSigner {
  if (typeof sessionKey !== 'string') return sessionKey
  const hash = createVoucherHasher({ chainId, module })
  return {
    address: privateKeyToAddress(sessionKey),
    sign: (voucher) => signVoucher(hash, sessionKey, voucher).signature,
  }
}
