import type { Address } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Claim,
  conclude,
  emptyLedger,
  type Ledger,
  type LedgerLimits,
  type Reservation,
  reserve,
  spentOf,
} from './ledger.ts'

const payees: Address[] = [`0x${'aa'.repeat(20)}`, `0x${'bb'.repeat(20)}`]
const [payee] = payees as [Address]

function take(
  ledger: Ledger,
  price: bigint,
  limits: LedgerLimits = {},
  nowMs = 0,
): { ledger: Ledger; reservation: Reservation } {
  const reserved = reserve(ledger, limits, { payee, price, nowMs })
  if (!reserved.ok) throw new Error(`refused by ${reserved.limit}`)
  return reserved
}

/** What an honest gateway would do: charge when the highest voucher seen covers it. */
function honestGateway(charged: bigint, authorized: bigint) {
  const state = { charged, authorized }
  return {
    claim: (): Claim => ({ ...state }),
    charge({ price, cumulativeAmount }: Reservation): boolean {
      if (cumulativeAmount > state.authorized) state.authorized = cumulativeAmount
      if (state.charged + price > state.authorized) return false
      state.charged += price
      return true
    },
  }
}

const price = fc.bigInt(1n, 50n)
const limit = fc.option(fc.bigInt(0n, 400n), { nil: undefined })
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('reserve' as const), payee: fc.constantFrom(...payees), price }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('charged' as const, 'released' as const, 'unknown' as const),
      pick: fc.nat(1000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(2_000_000) }) },
)

test('no history makes it sign above a limit, and what it spent is what was charged and is in flight', () => {
  fc.assert(
    fc.property(
      fc.record({ maxPerCall: limit, maxTotal: limit, maxPerHour: limit, grantTotalLimit: limit }),
      fc.array(step, { maxLength: 120 }),
      (limits, steps) => {
        let ledger = emptyLedger
        let nowMs = 1_700_000_000_000
        let charged = 0n
        const perPayee = new Map<Address, bigint>()
        const open: (Reservation & { atMs: number })[] = []
        const kept: { atMs: number; price: bigint }[] = []

        for (const next of steps) {
          if (next.kind === 'wait') {
            nowMs += next.ms
          } else if (next.kind === 'reserve') {
            const reserved = reserve(ledger, limits, { ...next, nowMs })
            if (!reserved.ok) continue
            ledger = reserved.ledger
            open.push({ ...reserved.reservation, atMs: nowMs })
            const { cumulativeAmount } = reserved.reservation
            expect(next.price <= (limits.maxPerCall ?? next.price)).toBe(true)
            for (const max of [limits.maxTotal, limits.grantTotalLimit]) {
              expect(max === undefined || (cumulativeAmount <= max && spentOf(ledger) <= max)).toBe(true)
            }
            const lastHour = [...open, ...kept].filter(({ atMs }) => atMs > nowMs - 3_600_000)
            const inHour = lastHour.reduce((sum, { price }) => sum + price, 0n)
            expect(limits.maxPerHour === undefined || inHour <= limits.maxPerHour).toBe(true)
          } else if (open.length > 0) {
            const [reservation] = open.splice(next.pick % open.length, 1)
            if (!reservation) continue
            const before = perPayee.get(reservation.payee) ?? 0n
            const after = next.kind === 'released' ? before : before + reservation.price
            perPayee.set(reservation.payee, after)
            if (next.kind !== 'released') {
              charged += reservation.price
              kept.push(reservation)
            }
            const claim = { charged: after, authorized: after }
            const outcome =
              next.kind === 'charged' ? { kind: next.kind, amount: reservation.price, claim } : { kind: next.kind }
            const concluded = conclude(ledger, reservation, outcome)
            expect(concluded.dispute).toBe(undefined)
            ledger = concluded.ledger
          }
          const inFlight = open.reduce((sum, { price }) => sum + price, 0n)
          expect(spentOf(ledger)).toBe(charged + inFlight)
        }
      },
    ),
  )
})

test('what is released comes back: after releasing everything the ledger has spent nothing', () => {
  fc.assert(
    fc.property(fc.array(price, { minLength: 1, maxLength: 30 }), (prices) => {
      const limits = { maxTotal: prices.reduce((sum, one) => sum + one, 0n), maxPerHour: 10_000n }
      let ledger = emptyLedger
      const open: Reservation[] = []
      for (const one of prices) {
        const taken = take(ledger, one, limits)
        ledger = taken.ledger
        open.push(taken.reservation)
      }
      for (const reservation of open) ledger = conclude(ledger, reservation, { kind: 'released' }).ledger
      expect(spentOf(ledger)).toBe(0n)
      expect(ledger.hour.reduce((sum, { amount }) => sum + amount, 0n)).toBe(0n)
      expect(take(ledger, limits.maxTotal, limits).reservation.cumulativeAmount).toBe(limits.maxTotal)
    }),
  )
})

test('calls in flight are covered in whatever order they arrive, also after a cold start', () => {
  fc.assert(
    fc.property(
      fc.array(price, { minLength: 1, maxLength: 40 }),
      fc.bigInt(0n, 5_000n),
      fc.bigInt(0n, 100n),
      fc.infiniteStream(fc.nat()),
      (prices, spentBefore, released, random) => {
        const gateway = honestGateway(spentBefore, spentBefore + released)
        let ledger = emptyLedger
        const waiting = prices.map((one) => {
          const taken = take(ledger, one)
          ledger = taken.ledger
          return { reservation: taken.reservation, resynced: false }
        })
        while (waiting.length > 0) {
          const [call] = waiting.splice((random.next().value ?? 0) % waiting.length, 1)
          if (!call) continue
          const { reservation } = call
          if (gateway.charge(reservation)) {
            const outcome = { kind: 'charged' as const, amount: reservation.price, claim: gateway.claim() }
            const concluded = conclude(ledger, reservation, outcome)
            expect(concluded.dispute).toBe(undefined)
            ledger = concluded.ledger
            continue
          }
          expect(call.resynced).toBe(false)
          ledger = conclude(ledger, reservation, { kind: 'released', claim: gateway.claim() }).ledger
          const again = take(ledger, reservation.price)
          ledger = again.ledger
          waiting.push({ reservation: again.reservation, resynced: true })
        }
      },
    ),
    { numRuns: 500 },
  )
})

test('a lone call takes over a lower figure: a charge that nobody told of was never made', () => {
  const lost = take(emptyLedger, 10n)
  let { ledger } = conclude(lost.ledger, lost.reservation, { kind: 'unknown' })
  const next = take(ledger, 10n)
  expect(next.reservation.cumulativeAmount).toBe(20n)
  ledger = conclude(next.ledger, next.reservation, {
    kind: 'charged',
    amount: 10n,
    claim: { charged: 10n, authorized: 20n },
  }).ledger
  expect(spentOf(ledger)).toBe(10n)
})

test('a figure above every voucher is disputed with both figures, and closes the channel', () => {
  const first = take(emptyLedger, 10n)
  let { ledger } = conclude(first.ledger, first.reservation, {
    kind: 'charged',
    amount: 10n,
    claim: { charged: 10n, authorized: 10n },
  })
  const second = take(ledger, 10n)
  const concluded = conclude(second.ledger, second.reservation, {
    kind: 'charged',
    amount: 10n,
    claim: { charged: 500n, authorized: 500n },
  })
  ledger = concluded.ledger
  expect(concluded.dispute).toEqual({ of: 'total', chargedAtomic: 500n, allowedAtomic: 20n })
  expect(spentOf(ledger)).toBe(20n)
  expect(reserve(ledger, {}, { payee, price: 1n, nowMs: 0 })).toEqual({ ok: false, limit: 'disputed' })
})

test('at first contact a figure above what the gateway itself calls authorized is disputed', () => {
  const { ledger, reservation } = take(emptyLedger, 10n)
  const claim = { charged: 500n, authorized: 400n }
  expect(conclude(ledger, reservation, { kind: 'released', claim }).dispute).toEqual({
    of: 'total',
    chargedAtomic: 500n,
    allowedAtomic: 400n,
  })
})

test('a call that cost more than its price is disputed', () => {
  const { ledger, reservation } = take(emptyLedger, 10n)
  const claim = { charged: 10n, authorized: 10n }
  expect(conclude(ledger, reservation, { kind: 'charged', amount: 11n, claim }).dispute).toEqual({
    of: 'call',
    chargedAtomic: 11n,
    allowedAtomic: 10n,
  })
})

test('the hourly window forgets after an hour, holds few buckets, and a clock set back does not empty it', () => {
  const limits = { maxPerHour: 1_000n }
  let ledger = emptyLedger
  let nowMs = 0
  for (let call = 0; call < 1_000; call++) {
    const reserved = reserve(ledger, limits, { payee, price: 1n, nowMs })
    if (reserved.ok) ledger = reserved.ledger
    nowMs += 5_000
  }
  expect(ledger.hour.length).toBeLessThanOrEqual(361)
  const full = reserve(ledger, { maxPerHour: 500n }, { payee, price: 1n, nowMs: nowMs - 600_000 })
  expect(full).toMatchObject({ ok: false, limit: 'maxPerHour', limitAtomic: 500n })
  expect(reserve(ledger, { maxPerHour: 1n }, { payee, price: 1n, nowMs: nowMs + 3_610_000 }).ok).toBe(true)
})
