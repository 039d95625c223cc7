import { Gauge, type Registry } from 'prom-client'
import type { BreakerCounts } from './breakerWorker.ts'

/** What the sentinel tells Prometheus of what it stopped. */
export function registerBreakerMetrics(
  registry: Registry,
  { breakers, stopsWaiting }: { breakers(): BreakerCounts; stopsWaiting(): number },
): void {
  new Gauge({
    name: 'sentinel_breakers',
    help: 'Grants that are stopped until their owner decides (open), or go on and are watched more closely (half_open).',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      for (const [state, count] of Object.entries(breakers())) this.set({ state }, count)
    },
  })
  new Gauge({
    name: 'sentinel_stops_waiting',
    help: 'Stops that the chain does not have yet, as this sentinel last saw it.',
    registers: [registry],
    collect() {
      this.set(stopsWaiting())
    },
  })
}
