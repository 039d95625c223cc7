import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** What the gateway tells Prometheus on `/metrics`. */
export function createMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    calls: new Counter({
      name: 'gateway_paid_calls_total',
      help: 'Calls of paid services by outcome: served, replayed, released, broken, or the code of the refusal.',
      labelNames: ['outcome'],
      registers: [registry],
    }),
    chainAge: new Gauge({
      name: 'gateway_chain_age_seconds',
      help: 'How long ago the chain was last seen.',
      registers: [registry],
    }),
    requestSeconds: new Histogram({
      name: 'gateway_request_seconds',
      help: 'Time from the first byte of a request to its answer, upstream included.',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers: [registry],
    }),
  }
}
