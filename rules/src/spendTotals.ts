import { type RuleWindow, ruleWindowNames, ruleWindows, slicesPerWindow } from './ruleWindows.ts'

/**
 * What was spent so far, and in each window: plain JSON of one size. Amounts are base units as numbers, exact below 2^53,
 * which no grant of a meter exceeds.
 */
export type SpendTotals = {
  lastMs: number
  calls: number
  spent: number
  largest: number
  /** As they were before the newest charge. */
  before: { calls: number; spent: number; largest: number }
  /** Of each window: the number of its newest slice, counted from the epoch. */
  slices: number[]
  /** Rings of `slicesPerWindow + 1` slices, one window after the other. */
  sliceCalls: number[]
  sliceSpent: number[]
}

const ringLength = slicesPerWindow + 1
const widths = ruleWindowNames.map((name) => ruleWindows[name] / slicesPerWindow)

export function createSpendTotals(): SpendTotals {
  return {
    lastMs: 0,
    calls: 0,
    spent: 0,
    largest: 0,
    before: { calls: 0, spent: 0, largest: 0 },
    slices: widths.map(() => 0),
    sliceCalls: new Array<number>(widths.length * ringLength).fill(0),
    sliceSpent: new Array<number>(widths.length * ringLength).fill(0),
  }
}

/** Takes one charge in, in place. An earlier one than the newest counts as of the newest. */
export function addSpend(totals: SpendTotals, { atMs, amount }: { atMs: number; amount: number }): void {
  const { before, slices, sliceCalls, sliceSpent } = totals
  totals.lastMs = Math.max(totals.lastMs, atMs)
  before.calls = totals.calls
  before.spent = totals.spent
  before.largest = totals.largest
  totals.calls++
  totals.spent += amount
  if (amount > totals.largest) totals.largest = amount
  for (let window = 0; window < widths.length; window++) {
    const slice = Math.floor(totals.lastMs / (widths[window] ?? 1))
    const start = window * ringLength
    // Slices that nothing fell into since, at most all of them.
    const passed = Math.min(slice - (slices[window] ?? 0), ringLength)
    for (let empty = 0; empty < passed; empty++) {
      const at = start + ((slice - empty) % ringLength)
      sliceCalls[at] = 0
      sliceSpent[at] = 0
    }
    slices[window] = slice
    const at = start + (slice % ringLength)
    sliceCalls[at] = (sliceCalls[at] ?? 0) + 1
    sliceSpent[at] = (sliceSpent[at] ?? 0) + amount
  }
}

/** Charges in the window that ends with the newest charge, or at a later moment. */
export function callsWithin(totals: SpendTotals, window: RuleWindow, atMs: number = totals.lastMs): number {
  return sumSlices(totals, totals.sliceCalls, window, atMs)
}

/** Base units in that window. */
export function spentWithin(totals: SpendTotals, window: RuleWindow, atMs: number = totals.lastMs): number {
  return sumSlices(totals, totals.sliceSpent, window, atMs)
}

function sumSlices(totals: SpendTotals, ring: readonly number[], name: RuleWindow, atMs: number): number {
  const window = ruleWindowNames.indexOf(name)
  const newest = totals.slices[window] ?? 0
  const now = Math.floor(Math.max(atMs, totals.lastMs) / (widths[window] ?? 1))
  const start = window * ringLength
  // The ring's newest slice is `now - newest` slices old; what would be older than the window is left out.
  const kept = ringLength - (now - newest)
  let sum = 0
  for (let age = 0; age < kept; age++) {
    if (age > newest) break
    sum += ring[start + ((newest - age) % ringLength)] ?? 0
  }
  return sum
}
