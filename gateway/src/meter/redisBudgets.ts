import type { Address } from '@protocolbanks/stream-protocol'
import { type CreditBudgets, type PartitionBudget, partitionCount } from './meter.ts'
import type { RedisScripts } from './redisScripts.ts'
import { clampAmount } from './transitions.ts'

type RedisBudgetsOptions = {
  scripts: RedisScripts
  /** What Redis answers, or `MeterUnavailableError`. */
  ask<answer>(command: () => Promise<answer>): Promise<answer>
  /** Where a partition counts what its accounts owe. */
  keyOf(partition: number): string
}

/** The budgets of the partitions in Redis: each call is one atomic step in one partition. */
export function createRedisBudgets({ scripts, ask, keyOf }: RedisBudgetsOptions): CreditBudgets {
  const indexes = Array.from({ length: partitionCount }, (_, index) => index)
  return {
    async read(token, payee) {
      const field = fieldOf(token, payee)
      const replies = await Promise.all(indexes.map((index) => ask(() => scripts.readBudget([keyOf(index)], [field]))))
      return replies.map(toBudget)
    },
    async lower(partition, { token, payee, policy, target }) {
      const args: [string, number, string] = [fieldOf(token, payee), policy, clampAmount(target).toString()]
      const reply = await ask(() => scripts.lowerBudget([keyOf(partition)], args))
      return reply === 0 ? undefined : toBudget(reply)
    },
    async raise(partition, { token, payee, version, budget }) {
      const args: [string, number, string] = [fieldOf(token, payee), version, clampAmount(budget).toString()]
      return (await ask(() => scripts.raiseBudget([keyOf(partition)], args))) === 1
    },
    async confirm(partition, { token, payee, version }) {
      return (await ask(() => scripts.confirmBudget([keyOf(partition)], [fieldOf(token, payee), version]))) === 1
    },
  }
}

function fieldOf(token: Address, payee: Address): string {
  return `${token}:${payee}`.toLowerCase()
}

function toBudget(reply: unknown): PartitionBudget {
  if (!Array.isArray(reply)) throw new Error(`Redis answered ${typeof reply} where a list was expected.`)
  const [used, budget, wanted, version, policy, counted] = reply.map((value) => (value === null ? '0' : String(value)))
  return {
    used: BigInt(used ?? 0),
    budget: BigInt(budget ?? 0),
    wanted: BigInt(wanted ?? 0),
    version: Number(version),
    policy: Number(policy),
    counted: counted === '1',
  }
}
