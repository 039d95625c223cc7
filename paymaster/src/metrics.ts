import type { GasOfDay } from '@protocolbanks/stream-db'
import type { Cached } from '@protocolbanks/stream-runtime'
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** What the paymaster tells Prometheus on `/metrics`. */
export function createMetrics({ gas, operatorBudgetWei }: { gas: Cached<GasOfDay>; operatorBudgetWei: bigint }) {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  registerGas(registry, { gas, operatorBudgetWei })
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

/** Kind of what no merchant pays for; see sponsorService.ts. */
const operatorKind = 'operator'

/** What is booked and reserved in Postgres, the same in every paymaster: take the maximum over them. */
function registerGas(
  registry: Registry,
  { gas, operatorBudgetWei }: { gas: Cached<GasOfDay>; operatorBudgetWei: bigint },
): void {
  const registers = [registry]
  new Gauge({
    name: 'paymaster_gas_today_wei',
    help: 'Gas of this UTC day, wei: what operations cost, and the most that open ones may cost, by kind.',
    labelNames: ['kind'],
    registers,
    async collect() {
      const today = await gas.get()
      this.reset()
      for (const { kind, wei } of today?.byKind ?? []) this.set({ kind }, Number(wei))
    },
  })
  new Gauge({
    name: 'paymaster_operator_budget_left_wei',
    help: "What is left of this UTC day's gas for operations that no merchant pays for, wei.",
    registers,
    async collect() {
      const today = await gas.get()
      const used = today?.byKind.find(({ kind }) => kind === operatorKind)?.wei ?? 0n
      this.set(Number(operatorBudgetWei > used ? operatorBudgetWei - used : 0n))
    },
  })
  new Gauge({
    name: 'paymaster_merchants_near_budget',
    help: 'Merchants who have used nine tenths or more of their gas of this UTC day.',
    registers,
    async collect() {
      this.set((await gas.get())?.merchantsNearBudget ?? 0)
    },
  })
}
