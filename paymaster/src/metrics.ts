import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** What the paymaster tells Prometheus on `/metrics`. */
export function createMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    answers: new Counter({
      name: 'paymaster_answers_total',
      help: 'Answers by method, kind of operation and outcome: sponsored, or the code of the refusal.',
      labelNames: ['method', 'kind', 'outcome'],
      registers: [registry],
    }),
    bookedWei: new Counter({
      name: 'paymaster_gas_cost_wei_total',
      help: 'What sponsored operations cost on-chain, wei.',
      registers: [registry],
    }),
    depositWei: new Gauge({
      name: 'paymaster_deposit_wei',
      help: "The paymaster contract's deposit at the EntryPoint, wei.",
      labelNames: ['entry_point'],
      registers: [registry],
    }),
    bookedBlock: new Gauge({
      name: 'paymaster_booked_block',
      help: 'The block up to which costs are booked.',
      registers: [registry],
    }),
  }
}
