import type { Fees } from '../rpc/bundler.ts'

/**
 * Fees with which a transaction replaces one that waits under the same nonce: an eighth more, which every client's
 * mempool takes (geth asks for a tenth), or what the market asks for if that is more. Undefined when that would be above
 * `maxFeePerGas`, wei per gas.
 */
export function bumpFees(waiting: Fees, market: Fees, maxFeePerGas: bigint): Fees | undefined {
  const needed = anEighthMore(waiting.maxFeePerGas)
  if (needed > maxFeePerGas) return undefined
  const fee = smaller(larger(needed, market.maxFeePerGas), maxFeePerGas)
  const tip = larger(anEighthMore(waiting.maxPriorityFeePerGas), market.maxPriorityFeePerGas)
  return { maxFeePerGas: fee, maxPriorityFeePerGas: smaller(tip, fee) }
}

/** Rounded up. */
function anEighthMore(amount: bigint): bigint {
  return amount + (amount + 7n) / 8n
}

const larger = (a: bigint, b: bigint) => (a > b ? a : b)
const smaller = (a: bigint, b: bigint) => (a < b ? a : b)
