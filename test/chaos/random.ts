/** Random numbers that a seed determines: the same on every machine. */
export type Random = {
  /** A whole number from `least` to `most`, both included. */
  whole(least: number, most: number): number
  pick<T>(list: readonly T[]): T
  /** The same elements in another order. */
  shuffle<T>(list: readonly T[]): T[]
}

/** The generator mulberry32: 32 bits of state, good enough to choose faults, and three lines long. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const whole = (least: number, most: number) => least + Math.floor(next() * (most - least + 1))
  function pick<T>(list: readonly T[]): T {
    const picked = list[whole(0, list.length - 1)]
    if (picked === undefined) throw new RangeError('There is nothing to pick from.')
    return picked
  }
  function shuffle<T>(list: readonly T[]): T[] {
    const shuffled = [...list]
    for (let index = shuffled.length - 1; index > 0; index--) {
      const other = whole(0, index)
      const [left, right] = [shuffled[index], shuffled[other]]
      if (left !== undefined && right !== undefined) {
        shuffled[index] = right
        shuffled[other] = left
      }
    }
    return shuffled
  }
  return { whole, pick, shuffle }
}
