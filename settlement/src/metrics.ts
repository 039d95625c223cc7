import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** What settlement tells Prometheus on `/metrics`. */
export function createMetrics({ inFlight }: { inFlight(): number }) {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    results: new Counter({
      name: 'settlement_results_total',
      help: 'How looks at settlements ended: confirmed, waiting, retry, dead or lost, with the code of the error.',
      labelNames: ['outcome', 'code'],
      registers: [registry],
    }),
    paid: new Counter({
      name: 'settlement_paid_atomic_total',
      help: 'What was paid to payees, base units of the token.',
      registers: [registry],
    }),
    seconds: new Histogram({
      name: 'settlement_seconds',
      help: 'From the intent to the confirmation of a settlement.',
      buckets: [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3_600],
      registers: [registry],
    }),
    inFlight: new Gauge({
      name: 'settlement_in_flight',
      help: 'Settlements that are worked on now.',
      registers: [registry],
      collect() {
        this.set(inFlight())
      },
    }),
  }
}
