import { bytesToHex, domainSeparator, type Hex, hexToBytes, toBytes } from 'viem'
import { keccak256 } from '#keccak256'
import { hexInto } from '../hex/hexInto.ts'
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
  // One buffer each for all vouchers: nothing waits between filling and hashing it.
  const struct = new Uint8Array(128)
  struct.set(typeHash, 0)
  const amount = new DataView(struct.buffer, 112)
  const message = new Uint8Array(66)
  message.set([0x19, 0x01])
  message.set(hexToBytes(domainSeparator({ domain: voucherDomain(domain) })), 2)
  return ({ grantId, payee, cumulativeAmount }) => {
    assertAmount(cumulativeAmount, maxUint128)
    write(grantId, struct, 32, 32)
    write(payee, struct, 76, 20)
    amount.setBigUint64(0, cumulativeAmount >> 64n)
    amount.setBigUint64(8, cumulativeAmount & 0xffffffffffffffffn)
    message.set(keccak256(struct), 34)
    return keccak256(message)
  }
}

/** viem alone says what is wrong with a text that is no such hex. */
function write(hex: Hex, target: Uint8Array, offset: number, size: number): void {
  if (!hexInto(hex, target, offset, size)) target.set(hexToBytes(hex, { size }), offset)
}

/** One digest as hex; for many, keep a hasher. */
export function hashVoucher(domain: VoucherDomain, voucher: Voucher): Hex {
  return bytesToHex(createVoucherHasher(domain)(voucher))
}
