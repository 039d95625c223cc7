import { setTimeout as delay } from 'node:timers/promises'
import type { BreakerView } from '@protocolbanks/stream-db'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createBreakerWorker, type OnProbation } from './breakerWorker.ts'

/** Its owner has resumed it. */
const resumed: BreakerView = {
  grantId: `0x${'01'.repeat(32)}`,
  account: '0x00000000000000000000000000000000000000aa',
  state: 'open',
  since: new Date(0),
  incidentId: 'inc_1',
  liftedAt: null,
  updatedAt: new Date(0),
  chainStatus: 'active',
  stop: { id: 'stp_1', kind: 'freeze', chainState: 'confirmed', refused: true },
  stopsLately: 1,
  unfrozen: true,
  lost: false,
  confirmed: false,
  severity: 'critical',
  accepted: 0n,
  totalLimit: 100n,
}

/** Runs looks at one breaker until the grant was lifted `lifts` times, on a clock that is later at each question. */
async function run(lifts: number, watch: (grants: readonly OnProbation[]) => Promise<void>) {
  const done: string[] = []
  let view = resumed
  let nowMs = 1_000
  const stopping = new AbortController()
  const worker = createBreakerWorker({
    listViews: async () => [view],
    async move(breaker, { to }, now) {
      if (to === 'half_open') view = { ...breaker, state: to, since: now }
      return true
    },
    async lift() {
      done.push('lifted')
      if (done.filter((what) => what === 'lifted').length >= lifts) stopping.abort()
    },
    stopRejected: async () => 0,
    refreshAccepted: async () => undefined,
    closeQuiet: async () => undefined,
    async onProbation(grants) {
      await watch(grants)
      done.push(`watched since ${grants[0]?.since.getTime()}`)
    },
    wake: () => {},
    policy: { halfOpenMs: 600_000, revokeAfterStops: 3, revokeAtPercent: 0n },
    revokeWithinMs: 86_400_000,
    clock: () => ++nowMs,
    pollMs: 1,
    logger: pino({ level: 'silent' }),
  })
  await worker.run(stopping.signal)
  return done
}

test('a grant that goes on is served again only when it is watched more closely, and from one moment on', async () => {
  const done = await run(2, () => delay(5))
  const [watched] = done
  expect(watched).toMatch(/^watched since \d+$/)
  expect(done).toEqual([watched, 'lifted', watched, 'lifted'])
})

test('one that cannot be watched yet is not served, and is tried again', async () => {
  let tries = 0
  const done = await run(1, async () => {
    if (++tries < 3) throw new Error('Postgres is gone.')
  })
  expect(tries).toBe(3)
  expect(done.map((what) => what.split(' ')[0])).toEqual(['watched', 'lifted'])
})
