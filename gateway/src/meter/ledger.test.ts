import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createLedger } from './ledger.ts'
import type { UsageEvent } from './meter.ts'
import { createPayer } from './testing/builders.ts'

const payer = createPayer()

function eventOf(eventId: string, amount = 10n): UsageEvent {
  return {
    ...payer,
    eventId,
    partition: 0,
    requestId: eventId,
    fingerprint: 'f',
    amount,
    cumulativeAmount: 100n,
    occurredAtMs: 0,
    record: { service: 'weather', merchant: 'acme', signature: '0x51' },
  }
}

test('asks about what is old enough, the oldest first, and not again too soon', () => {
  const ledger = createLedger(10)
  for (const [index, id] of ['a', 'b', 'c'].entries()) {
    ledger.add(eventOf(id), { partition: 0, generation: 1, atMs: index * 1_000 })
  }
  const due = (nowMs: number) =>
    ledger.due({ nowMs, minAgeMs: 1_000, askedBeforeMs: nowMs - 500, limit: 2 }).map(({ event }) => event.eventId)
  expect(due(999)).toEqual([])
  expect(due(1_000)).toEqual(['a'])
  expect(due(1_200)).toEqual([])
  expect(due(3_000)).toEqual(['a', 'b'])
  expect(due(3_100)).toEqual(['c'])
  ledger.forget(['a', 'c'])
  expect(due(9_000)).toEqual(['b'])
})

test('a doubtful charge is not settled by its request: only the store knows', () => {
  const ledger = createLedger(10)
  ledger.add(eventOf('a'), { partition: 0, generation: 1, atMs: 0 })
  ledger.doubt('a')
  ledger.settle('a')
  expect(ledger.before(0, 2)).toMatchObject([{ state: 'doubtful' }])
})

const step = fc.oneof(
  fc.record({ kind: fc.constant('charge' as const), generation: fc.constantFrom(1, 2), partition: fc.nat({ max: 1 }) }),
  fc.record({ kind: fc.constantFrom('served', 'doubt', 'release', 'journalled'), which: fc.nat({ max: 40 }) }),
  fc.record({
    kind: fc.constant('capture' as const),
    which: fc.nat({ max: 40 }),
    amount: fc.bigInt({ min: 1n, max: 10n }),
  }),
  fc.record({ kind: fc.constant('flush' as const), partition: fc.nat({ max: 1 }) }),
)

test('holds exactly what was charged and neither released nor journalled, over random histories, within its bound', () => {
  const max = 12
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const ledger = createLedger(max)
      const ids: string[] = []
      /** The same, kept in the plainest way. */
      const model = new Map<string, { amount: bigint; partition: number; generation: number }>()
      for (const [index, next] of steps.entries()) {
        const id = 'which' in next ? ids[next.which % Math.max(1, ids.length)] : undefined
        if (next.kind === 'charge') {
          expect(ledger.isFull).toBe(model.size >= max)
          if (ledger.isFull) continue
          const { partition, generation } = next
          const eventId = `e${index}`
          ids.push(eventId)
          ledger.add(eventOf(eventId), { partition, generation, atMs: index })
          model.set(eventId, { amount: 10n, partition, generation })
        } else if (next.kind === 'flush') {
          const entries = ledger.before(next.partition, 2)
          const expected = [...model].filter(([, one]) => one.partition === next.partition && one.generation < 2)
          expect(new Set(entries.map(({ event }) => event.eventId))).toEqual(new Set(expected.map(([key]) => key)))
          ledger.forget(entries.map(({ event }) => event.eventId))
          for (const [key] of expected) model.delete(key)
        } else if (id !== undefined) {
          if (next.kind === 'served') ledger.settle(id)
          else if (next.kind === 'doubt') ledger.doubt(id)
          else if (next.kind === 'journalled') {
            ledger.forget([id])
            model.delete(id)
          } else if (next.kind === 'release') {
            ledger.capture(id, undefined)
            model.delete(id)
          } else if ('amount' in next) {
            const captured = `${id}'`
            ledger.capture(id, eventOf(captured, next.amount))
            const before = model.get(id)
            model.delete(id)
            if (before) {
              model.set(captured, { ...before, amount: next.amount })
              ids.push(captured)
            }
          }
        }
        expect(ledger.size).toBe(model.size)
        for (const [eventId, { amount }] of model) expect(ledger.get(eventId)?.amount).toBe(amount)
      }
    }),
    { numRuns: 300 },
  )
})

test('a charge is known by its entry as long as nothing of it was changed', () => {
  const ledger = createLedger(10)
  const use = '{"requestId":"a"}'
  ledger.add(eventOf('a'), { partition: 0, generation: 1, atMs: 0, use })
  ledger.add(eventOf('b'), { partition: 0, generation: 1, atMs: 0 })
  const entry = { amount: '10', cumulative: '100', signature: '0x51', use }
  expect(ledger.match('a', entry)).toBe(ledger.get('a'))
  const changes = [{ amount: '11' }, { amount: '010' }, { cumulative: '101' }, { signature: '0x52' }, { use: '{}' }]
  for (const change of changes) expect(ledger.match('a', { ...entry, ...change })).toBeUndefined()
  // What was not remembered is read as any other, and what is not ours as well.
  expect(ledger.match('b', entry)).toBeUndefined()
  expect(ledger.match('c', entry)).toBeUndefined()
  // A capture writes the same use with another amount under another id.
  ledger.capture('a', { ...eventOf('d'), amount: 4n })
  expect(ledger.match('d', { ...entry, amount: '4' })).toBe(ledger.get('d'))
  expect(ledger.match('d', entry)).toBeUndefined()
})
