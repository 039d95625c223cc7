import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRandom } from '../simulation/createRandom.ts'
import { alarmScore } from './detector.ts'
import { createGrantScorer, type GrantScore, type GrantState } from './grantScorer.ts'
import type { SpendEvent } from './spendEvent.ts'
import { createSpendWatchers } from './spendWatchers.ts'

const second = 1_000
const hour = 3_600 * second
const day = 24 * hour
const startMs = Date.UTC(2026, 0, 5)
const scorer = createGrantScorer(createSpendWatchers())

/** About a call in five minutes by day and a tenth of that by night, for about a cent. */
function ordinaryLife(days: number, seed: number): SpendEvent[] {
  const random = createRandom(seed)
  const events: SpendEvent[] = []
  let atMs = startMs
  for (;;) {
    const hourOfDay = (atMs % day) / hour
    atMs += Math.round(random.exponential(hourOfDay > 7 && hourOfDay < 20 ? 300 * second : 3_000 * second))
    if (atMs > startMs + days * day) return events
    events.push(call(atMs, random.logNormal(10_000, 0.3)))
  }
}

function call(atMs: number, amount: number, more: Partial<SpendEvent> = {}): SpendEvent {
  const amountAtomic = BigInt(Math.round(amount))
  return { atMs, amountAtomic, payee: 'payee', service: 'service', host: 'home', ...more }
}

function observeAll(state: GrantState, events: readonly SpendEvent[]): GrantScore[] {
  return events.map((event) => scorer.observe(state, event))
}

const isAlarm = ({ score }: GrantScore) => score >= alarmScore
const afterDays = (days: number, seed = 1) => {
  const state = scorer.createState()
  observeAll(state, ordinaryLife(days, seed))
  return state
}
const noonMs = startMs + 10 * day + 12 * hour

test('the first host that is told of a grant is its own, however late it is told, and the second is new', () => {
  const state = scorer.createState()
  observeAll(
    state,
    ordinaryLife(10, 1).map((event) => ({ ...event, host: undefined })),
  )
  const phases = observeAll(state, [
    call(noonMs, 10_000, { host: 'home' }),
    call(noonMs + second, 10_000, { host: 'elsewhere' }),
    call(noonMs + 2 * second, 10_000, { host: 'home' }),
  ]).map(({ phase }) => phase)
  expect(phases).toEqual(['later', 'newHost', 'later'])
})

test('days and nights of an ordinary life are left alone', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    expect(observeAll(scorer.createState(), ordinaryLife(21, seed)).filter(isAlarm)).toEqual([])
  }
})

test('a vertical climb is caught within ten calls, and says what it is', () => {
  const climb = Array.from({ length: 50 }, (_, index) => call(noonMs + index * 100, 10_000))
  const scores = observeAll(afterDays(10), climb)
  const first = scores.findIndex(isAlarm)
  expect(first).toBeGreaterThan(0)
  expect(first).toBeLessThan(10)
  expect(scores[first]).toMatchObject({ windowMs: 10 * second, phase: 'later' })
})

test('many calls for next to nothing are caught as calls', () => {
  const many = Array.from({ length: 100 }, (_, index) => call(noonMs + index * second, 10))
  const caught = observeAll(afterDays(10), many).find(isAlarm)
  expect(caught).toMatchObject({ watched: 'calls' })
})

test('one huge call is caught at once', () => {
  const [score] = observeAll(afterDays(10), [call(noonMs, 1_000_000)])
  expect(score?.score).toBeGreaterThan(alarmScore)
})

test('what is dear for its service is caught, though another service costs as much', () => {
  const state = scorer.createState()
  const life = ordinaryLife(10, 6).flatMap((event) => [event, { ...event, service: 'dear', amountAtomic: 500_000n }])
  observeAll(state, life)
  expect(observeAll(state, [call(noonMs, 500_000, { service: 'dear' })]).filter(isAlarm)).toEqual([])
  expect(observeAll(state, [call(noonMs, 500_000)])[0]).toMatchObject({ watched: 'price' })
})

test('a new grant is not frozen for its first bigger calls', () => {
  const state = scorer.createState()
  observeAll(state, ordinaryLife(0.9, 7))
  const first = call(startMs + 0.9 * day, 5_000_000)
  expect(observeAll(state, [first]).filter(isAlarm)).toEqual([])
})

test('the same climb needs fewer calls from a host that is new', () => {
  const callsUntilAlarm = (host: string) => {
    const extra = Array.from({ length: 1_000 }, (_, index) => call(noonMs + index * 20 * second, 10_000, { host }))
    return observeAll(afterDays(10), extra).findIndex(isAlarm)
  }
  expect(callsUntilAlarm('elsewhere')).toBeGreaterThan(0)
  expect(callsUntilAlarm('elsewhere')).toBeLessThan(callsUntilAlarm('home'))
})

test('a state that was stored as JSON goes on as if it had not been', () => {
  const life = ordinaryLife(6, 8)
  const state = scorer.createState()
  observeAll(state, life.slice(0, 500))
  const restored: GrantState = JSON.parse(JSON.stringify(state))
  expect(observeAll(restored, life.slice(500))).toEqual(observeAll(state, life.slice(500)))
})

test('the state stays below 10 kB, whatever the number of calls, services and hosts', () => {
  const state = scorer.createState()
  const sizes: number[] = []
  ordinaryLife(30, 9).forEach((event, index) => {
    const more = { service: `service-${index % 50}`, host: `host-${index}`, payee: `payee-${index}` }
    scorer.observe(state, { ...event, ...more })
    if (index % 500 === 0) sizes.push(JSON.stringify(state).length)
  })
  expect(Math.max(...sizes)).toBeLessThan(10_000)
  expect(state.services).toHaveLength(16)
  expect(state.hosts).toHaveLength(8)
})

test('an event out of order counts as of the latest moment', () => {
  const state = afterDays(3)
  const lastMs = state.lastMs
  scorer.observe(state, call(startMs, 10_000))
  expect(state.lastMs).toBe(lastMs)
})

test('scores are in [0, 1) and the state stays finite for any calls: gaps, equal and zero amounts, huge ones', () => {
  const gapMs = fc.oneof(fc.constant(0), fc.nat(3 * hour), fc.nat(30 * day))
  const amount = fc.oneof(fc.constant(0n), fc.constant(10_000n), fc.bigInt({ min: 0n, max: 10n ** 300n }))
  const name = fc.constantFrom('a', 'b', 'c')
  const calls = fc.array(fc.tuple(gapMs, amount, name, fc.option(name, { nil: undefined })), {
    minLength: 100,
    maxLength: 200,
  })
  fc.assert(
    fc.property(calls, (steps) => {
      const [state, twin] = [scorer.createState(), scorer.createState()]
      let atMs = startMs
      for (const [gap, amountAtomic, service, host] of steps) {
        atMs += gap
        const event: SpendEvent = { atMs, amountAtomic, payee: 'payee', service, host }
        const result = scorer.observe(state, event)
        expect(result.score >= 0 && result.score < 1).toBe(true)
        expect(scorer.observe(twin, event)).toEqual(result)
      }
      expect(numbersOf(state).every(Number.isFinite)).toBe(true)
      expect(JSON.stringify(state).length).toBeLessThan(20_000)
    }),
    { numRuns: 50 },
  )
})

test('how busy a grant is counts, not only its calls: what calls all day long is caught though it calls no more', () => {
  // Twelve tasks of about 40 calls a day, against the same calls spread evenly over each hour.
  const random = createRandom(10)
  const life: SpendEvent[] = []
  let atMs = startMs
  while (atMs < startMs + 10 * day) {
    atMs += Math.round(random.exponential(2 * hour))
    const calls = random.integer(25, 55)
    for (let index = 0; index < calls; index++) {
      atMs += Math.round(random.exponential(3_000))
      life.push(call(atMs, 10_000))
    }
  }
  const state = scorer.createState()
  expect(observeAll(state, life).filter(isAlarm)).toEqual([])
  const spread = Array.from({ length: 960 }, (_, index) => call(atMs + index * 180 * second, 10_000))
  expect(observeAll(state, spread).find(isAlarm)).toMatchObject({ watched: 'busy' })
})

function numbersOf(value: unknown): number[] {
  if (typeof value === 'number') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(numbersOf)
}
