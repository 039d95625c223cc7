/**
 * Which seeds are for what. Nothing may be chosen or tuned by looking at a held-out seed: change a method, and its limits
 * are measured on the tuning seeds alone.
 */
export const tuningSeeds = { traffic: 10_000, attacks: 20_000, series: 1_000 } as const
export const heldOutSeeds = { traffic: 910_000, attacks: 920_000, series: 901_000 } as const

export function seedsFrom(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index)
}
