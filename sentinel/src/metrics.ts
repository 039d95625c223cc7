import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** What the sentinel tells Prometheus on `/metrics`. */
export function createMetrics({
  grants,
  lagSeconds,
  rules,
  rulesAgeSeconds,
}: {
  grants(): number
  lagSeconds(): number
  rules(): number
  rulesAgeSeconds(): number
}) {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'sentinel_rules',
    help: 'Live rules of owners, merchants and the operator.',
    registers: [registry],
    collect() {
      this.set(rules())
    },
  })
  new Gauge({
    name: 'sentinel_rules_age_seconds',
    help: 'Since they were last read.',
    registers: [registry],
    collect() {
      this.set(rulesAgeSeconds())
    },
  })
  new Gauge({
    name: 'sentinel_grants',
    help: 'Grants that are in memory.',
    registers: [registry],
    collect() {
      this.set(grants())
    },
  })
  new Gauge({
    name: 'sentinel_lag_seconds',
    help: 'Since a gateway last told what was charged. While it grows, only the hard limits hold.',
    registers: [registry],
    collect() {
      this.set(lagSeconds())
    },
  })
  return {
    registry,
    charges: new Counter({
      name: 'sentinel_charges_total',
      help: 'Charges that were judged.',
      registers: [registry],
    }),
    incidents: new Counter({
      name: 'sentinel_incidents_total',
      help: 'Incidents that this process opened.',
      labelNames: ['rule', 'action'],
      registers: [registry],
    }),
    judged: new Histogram({
      name: 'sentinel_judged_seconds',
      help: 'From a charge to its judgement, of those that the feed told.',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
      registers: [registry],
    }),
  }
}
