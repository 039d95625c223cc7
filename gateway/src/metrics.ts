import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** What the gateway tells Prometheus on `/metrics`. */
export function createMetrics({
  chainAgeMs,
  sentinelSilenceMs,
}: {
  chainAgeMs(): number
  sentinelSilenceMs(): number
}) {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'gateway_chain_age_seconds',
    help: 'How long ago the chain was last seen.',
    registers: [registry],
    collect() {
      this.set(chainAgeMs() / 1_000)
    },
  })
  new Gauge({
    name: 'gateway_sentinel_silence_seconds',
    help: 'How long ago a sentinel that hears what is charged said so. While it grows, only the hard limits hold.',
    registers: [registry],
    collect() {
      this.set(sentinelSilenceMs() / 1_000)
    },
  })
  return {
    registry,
    calls: new Counter({
      name: 'gateway_paid_calls_total',
      help: 'Calls of paid services by outcome: served, replayed, released, broken, or the code of the refusal.',
      labelNames: ['outcome'],
      registers: [registry],
    }),
    servicesFileInvalid: new Gauge({
      name: 'gateway_services_file_invalid',
      help: '1 while the services file as it is now could not be applied, and the last one counts.',
      registers: [registry],
    }),
    meteredCalls: new Counter({
      name: 'gateway_metered_calls_total',
      help: 'Calls priced by use by how their charge ended: captured, late, short, unmeasured or cut.',
      labelNames: ['outcome'],
      registers: [registry],
    }),
    limitRefusals: new Counter({
      name: 'gateway_limit_refusals_total',
      help: 'Calls refused by a limit of exposure (grant, account, merchant, operator_grant, operator_account) or of spending (service_, payee_ or grant_ with call, minute, hour or day).',
      labelNames: ['limit'],
      registers: [registry],
    }),
  }
}
