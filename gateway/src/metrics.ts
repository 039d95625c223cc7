import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

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
  }
}
