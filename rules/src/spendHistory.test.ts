import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ruleWindowNames, ruleWindows, slicesPerWindow } from './ruleWindows.ts'
import { createSpendHistory, isSpendHistory, payeesKept, recordSpend, spendOfPayee } from './spendHistory.ts'
import { callsWithin, type SpendTotals, spentWithin } from './spendTotals.ts'

type Charge = { atMs: number; amountAtomic: bigint; payee: string }

const startMs = Date.UTC(2026, 0, 1)
/** Gaps from none to days, so that every window is crossed; some charges come late. */
const charges = fc
  .array(
    fc.record({
      gapMs: fc.oneof(
        fc.integer({ min: -5_000, max: 5_000 }),
        fc.integer({ min: 0, max: 3_600_000 }),
        fc.integer({ min: 0, max: 200_000_000 }),
      ),
      amountAtomic: fc.bigInt({ min: 0n, max: 2n ** 40n }),
      payee: fc.constantFrom('one', 'two', 'three'),
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map((steps) => {
    let atMs = startMs
    return steps.map(({ gapMs, ...charge }) => {
      atMs += gapMs
      return { ...charge, atMs }
    })
  })

/** Every charge, each no earlier than the one before. */
function inOrder(list: readonly Charge[]): Charge[] {
  let newest = 0
  return list.map((charge) => {
    newest = Math.max(newest, charge.atMs)
    return { ...charge, atMs: newest }
  })
}

function expectCounted(totals: SpendTotals, list: readonly Charge[], nowMs: number): void {
  for (const name of ruleWindowNames) {
    const windowMs = ruleWindows[name]
    const slice = windowMs / slicesPerWindow
    const within = (from: (atMs: number) => boolean) => list.filter(({ atMs }) => from(atMs))
    const counted = within((atMs) => Math.floor(atMs / slice) >= Math.floor(nowMs / slice) - slicesPerWindow)
    expect(callsWithin(totals, name, nowMs)).toBe(counted.length)
    expect(spentWithin(totals, name, nowMs)).toBe(Number(counted.reduce((sum, one) => sum + one.amountAtomic, 0n)))
    // Never less than the window says, and at most a twelfth longer.
    expect(counted.length).toBeGreaterThanOrEqual(within((atMs) => atMs > nowMs - windowMs).length)
    expect(counted.length).toBeLessThanOrEqual(within((atMs) => atMs > nowMs - windowMs - slice).length)
  }
}

test('every window counts what a list of all charges has in it, for the grant and for each payee', () => {
  fc.assert(
    fc.property(charges, fc.integer({ min: 0, max: 10 * ruleWindows['24h'] }), (list, laterMs) => {
      const history = createSpendHistory()
      for (const charge of list) recordSpend(history, charge)
      const ordered = inOrder(list)
      const nowMs = (ordered.at(-1)?.atMs ?? 0) + laterMs
      expectCounted(history.all, ordered, nowMs)
      for (const payee of new Set(list.map((charge) => charge.payee))) {
        expectCounted(
          spendOfPayee(history, payee),
          ordered.filter((charge) => charge.payee === payee),
          nowMs,
        )
      }
    }),
    { numRuns: 200 },
  )
})

test('average and largest are of the charges before the newest, in all and at its payee', () => {
  fc.assert(
    fc.property(charges, (list) => {
      const history = createSpendHistory()
      for (const charge of list) recordSpend(history, charge)
      const expected = (of: readonly Charge[]) => {
        const before = of.slice(0, -1).map(({ amountAtomic }) => Number(amountAtomic))
        return { calls: before.length, spent: before.reduce((a, b) => a + b, 0), largest: Math.max(0, ...before) }
      }
      expect(history.all.before).toEqual(expected(list))
      const payee = list.at(-1)?.payee ?? ''
      expect(spendOfPayee(history, payee).before).toEqual(expected(list.filter((one) => one.payee === payee)))
    }),
  )
})

test('a history that was stored as JSON goes on as if it had not been', () => {
  fc.assert(
    fc.property(charges, charges, (first, second) => {
      const [kept, stored] = [createSpendHistory(), createSpendHistory()]
      for (const charge of first) recordSpend(kept, charge)
      for (const charge of first) recordSpend(stored, charge)
      const read: unknown = JSON.parse(JSON.stringify(stored))
      if (!isSpendHistory(read)) throw new Error('It is not read as a history.')
      for (const charge of second) recordSpend(kept, charge)
      for (const charge of second) recordSpend(read, charge)
      expect(read).toEqual(kept)
    }),
    { numRuns: 50 },
  )
})

test('memory stays the same however many charges and payees come', () => {
  const history = createSpendHistory()
  const grow = (payees: number) => {
    for (let call = 0; call < 5_000; call++)
      recordSpend(history, { atMs: startMs + call * 997, amountAtomic: 10_000n, payee: `0x${call % payees}` })
    return JSON.stringify(history).length
  }
  grow(20)
  expect(history.payees).toHaveLength(payeesKept)
  const size = grow(20)
  expect(grow(500)).toBeLessThan(size * 1.2)
})

test('a payee that others pushed out begins anew', () => {
  const history = createSpendHistory()
  const pay = (payee: string, atMs: number) => recordSpend(history, { atMs, amountAtomic: 1n, payee })
  pay('first', startMs)
  for (let other = 0; other < payeesKept; other++) pay(`other ${other}`, startMs + 1 + other)
  expect(callsWithin(spendOfPayee(history, 'first'), '1h')).toBe(0)
  pay('first', startMs + 100)
  expect(callsWithin(spendOfPayee(history, 'first'), '1h')).toBe(1)
  expect(callsWithin(history.all, '1h')).toBe(payeesKept + 2)
})

test.each([
  [null],
  [{}],
  [{ all: createSpendHistory().all }],
  [{ ...createSpendHistory(), payees: [{ payee: 'a', totals: {} }] }],
  [{ all: { ...createSpendHistory().all, sliceCalls: [1, 2] }, payees: [] }],
])('what another version wrote is no history: %j', (value) => {
  expect(isSpendHistory(value)).toBe(false)
})
