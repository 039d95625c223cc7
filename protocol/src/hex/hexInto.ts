/** Value of each character code that is a hex digit; -1 for all others. */
const digits = new Int8Array(256).fill(-1)
for (const [index, digit] of [...'0123456789abcdef'].entries()) {
  digits[digit.charCodeAt(0)] = index
  digits[digit.toUpperCase().charCodeAt(0)] = index
}

/**
 * Writes `size` bytes of 0x-prefixed hex into `target`. False when the text is anything else, with `target` in any state.
 * viem's `hexToBytes` does the same with an array for each call, which is most of what hashing a voucher costs otherwise.
 */
export function hexInto(hex: string, target: Uint8Array, offset: number, size: number): boolean {
  if (hex.length !== 2 * size + 2 || hex.charCodeAt(0) !== 0x30 || hex.charCodeAt(1) !== 0x78) return false
  for (let index = 0; index < size; index++) {
    const high = digits[hex.charCodeAt(2 * index + 2)] ?? -1
    const low = digits[hex.charCodeAt(2 * index + 3)] ?? -1
    if (high < 0 || low < 0) return false
    target[offset + index] = (high << 4) | low
  }
  return true
}
