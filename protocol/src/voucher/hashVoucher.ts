import { bytesToHex, domainSeparator, type Hex, hexToBytes, toBytes } from 'viem'
import { keccak256 } from '#keccak256'
import { assertAmount, maxUint128 } from '../money.ts'
import { type Voucher, type VoucherDomain, voucherDomain } from './voucher.ts'

const typeHash = keccak256(toBytes('Voucher(bytes32 grantId,address payee,uint128 cumulativeAmount)'))

/**
 * EIP-712 digest of vouchers in one domain. The struct is encoded by hand into one buffer and the domain separator is
 * computed once: viem's general `hashTypedData` takes ten times as long, and this runs for every paid request.
 *
 * @example const hash = createVoucherHasher({ chainId: 137, module }); hash(voucher) // 32 bytes
 * @throws InvalidAmountError when the amount does not fit 128 bits.
 */
export function createVoucherHasher(domain: VoucherDomain): (voucher: Voucher) => Uint8Array {
  const separator = hexToBytes(domainSeparator({ domain: voucherDomain(domain) }))
  return ({ grantId, payee, cumulativeAmount }) => {
    assertAmount(cumulativeAmount, maxUint128)
    const struct = new Uint8Array(128)
    struct.set(typeHash, 0)
    struct.set(hexToBytes(grantId, { size: 32 }), 32)
    struct.set(hexToBytes(payee, { size: 20 }), 76)
    const view = new DataView(struct.buffer)
    view.setBigUint64(112, cumulativeAmount >> 64n)
    view.setBigUint64(120, cumulativeAmount & 0xffffffffffffffffn)
    const message = new Uint8Array(66)
    message[0] = 0x19
    message[1] = 0x01
    message.set(separator, 2)
    message.set(keccak256(struct), 34)
    return keccak256(message)
  }
}

/** One digest as hex; for many, keep a hasher. */
export function hashVoucher(domain: VoucherDomain, voucher: Voucher): Hex {
  return bytesToHex(createVoucherHasher(domain)(voucher))
}
