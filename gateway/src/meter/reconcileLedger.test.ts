import fc from 'fast-check'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createLedger } from './ledger.ts'
import type { UsageEvent } from './meter.ts'
import { reconcileLedger } from './reconcileLedger.ts'
import { createPayer } from './testing/builders.ts'

// The store, the journal and another process' writer are values here; every interleaving of what they do is possible.

const logger = pino({ level: 'silent' })
const payer = createPayer()

function eventOf(eventId: string): UsageEvent {
  return {
    ...payer,
    eventId,
    partition: 0,
    requestId: eventId,
    fingerprint: 'f',
    amount: 10n,
    cumulativeAmount: 100n,
    occurredAtMs: 0,
    record: { service: 'weather', merchant: 'acme', signature: '0x51' },
  }
}

const act = fc.oneof(
  { weight: 4, arbitrary: fc.constant('charge' as const) },
  { weight: 3, arbitrary: fc.constant('serve' as const) },
  { weight: 2, arbitrary: fc.constant('release' as const) },
  { weight: 1, arbitrary: fc.constant('release, answer lost' as const) },
  { weight: 3, arbitrary: fc.constant('append' as const) },
  { weight: 3, arbitrary: fc.constant('acknowledge' as const) },
  { weight: 1, arbitrary: fc.constant('lose the stream' as const) },
  { weight: 4, arbitrary: fc.constant('reconcile' as const) },
)

test('every charge that stands is journalled once and none that was released is, in whatever order things happen', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 60 }), fc.array(act, { maxLength: 30 }), async (acts, between) => {
      const ledger = createLedger(1_000)
      const stream = new Map<string, UsageEvent>()
      const journal = new Map<string, number>()
      const open: string[] = []
      const standing = new Set<string>()
      /** Appended by a writer that has not acknowledged yet. */
      const taken = new Set<string>()
      const released = new Set<string>()
      let nowMs = 0
      let sequence = 0
      const interleaved = [...between]
      const append = (event: UsageEvent) => {
        if (!journal.has(event.eventId)) journal.set(event.eventId, 1)
      }

      function apply(next: (typeof acts)[number]) {
        if (next === 'charge') {
          const event = eventOf(`e${++sequence}`)
          stream.set(event.eventId, event)
          ledger.add(event, { partition: 0, generation: 1, atMs: nowMs })
          open.push(event.eventId)
        } else if (next === 'serve') {
          const id = open.shift()
          if (id === undefined) return
          ledger.settle(id)
          standing.add(id)
        } else if (next === 'release' || next === 'release, answer lost') {
          const id = open.shift()
          if (id === undefined) return
          // A store that has lost it says that it is too late, and it stands.
          const isThere = stream.delete(id)
          if (next === 'release, answer lost') {
            ledger.doubt(id)
            ledger.settle(id)
            if (isThere) released.add(id)
          } else if (isThere) {
            ledger.capture(id, undefined)
            released.add(id)
          } else {
            ledger.settle(id)
            standing.add(id)
          }
        } else if (next === 'append') {
          for (const [id, event] of stream) {
            if (open.includes(id)) break
            append(event)
            taken.add(id)
          }
        } else if (next === 'acknowledge') {
          for (const id of taken) stream.delete(id)
          ledger.forget(taken)
          taken.clear()
        } else if (next === 'lose the stream') {
          for (const id of stream.keys()) if (!open.includes(id)) stream.delete(id)
        }
      }
      /** Something of others happens at every question that is asked. */
      async function meanwhile() {
        const next = interleaved.shift()
        if (next && next !== 'reconcile') apply(next)
      }
      async function reconcile() {
        nowMs += 6_000
        await reconcileLedger({
          ledger,
          records: {
            async find(events) {
              await meanwhile()
              return new Set(events.map(({ eventId }) => eventId).filter((id) => journal.has(id)))
            },
            async append(_, events) {
              await meanwhile()
              const fresh = events.filter(({ eventId }) => !journal.has(eventId))
              for (const event of events) append(event)
              return fresh.length
            },
          },
          current: () => 1,
          async inStream(_, events) {
            const found = new Set(events.map(({ eventId }) => eventId).filter((id) => stream.has(id)))
            await meanwhile()
            return found
          },
          nowMs,
          logger,
          onRecovered: () => {},
        })
      }

      for (const next of acts) {
        if (next === 'reconcile') await reconcile()
        else apply(next)
      }
      while (open.length > 0) apply('serve')
      interleaved.length = 0
      apply('append')
      apply('acknowledge')
      for (let round = 0; round < 3; round++) await reconcile()
      for (const id of standing) expect([id, journal.get(id)]).toEqual([id, 1])
      for (const id of released) expect([id, journal.has(id)]).toEqual([id, false])
      expect(ledger.size).toBe(0)
    }),
    { numRuns: 300 },
  )
})
