import { expect, test } from 'vitest'
import { planBatches } from './planBatches.ts'

const nowMs = Date.UTC(2026, 0, 1)
const policy = { nowMs, isIdle: true, gatherMs: 250, mostStops: 3 }
const stopsAgo = (...agoMs: number[]) => agoMs.map((ms) => ({ createdAt: new Date(nowMs - ms) }))

test('a single stop goes at once', () => {
  expect(planBatches(stopsAgo(0), policy)).toEqual({ batches: [stopsAgo(0)], lookAgainMs: undefined })
})

test('while a transaction is on its way the next waits for others, and no longer than it may', () => {
  const busy = { ...policy, isIdle: false }
  expect(planBatches(stopsAgo(100, 20), busy)).toEqual({ batches: [], lookAgainMs: 150 })
  expect(planBatches(stopsAgo(250, 20), busy).batches).toEqual([stopsAgo(250, 20)])
  expect(planBatches(stopsAgo(9, 8, 7), busy).batches).toEqual([stopsAgo(9, 8, 7)])
})

test('many go in as few transactions as hold them, each stop once, oldest first', () => {
  const due = stopsAgo(7, 6, 5, 4, 3, 2, 1)
  const { batches } = planBatches(due, policy)
  expect(batches.map((batch) => batch.length)).toEqual([3, 3, 1])
  expect(batches.flat()).toEqual(due)
})

test('nothing due is nothing to do', () => {
  expect(planBatches([], policy)).toEqual({ batches: [], lookAgainMs: undefined })
})
