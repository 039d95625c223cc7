/** The larger of two amounts: `Math.max` for bigint. */
export function larger(left: bigint, right: bigint): bigint {
  if (left > right) return left
  return right
}
