import { randomUUID } from 'node:crypto'
import type { Address } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { afterAll, expect, inject, test } from 'vitest'
import { createMeterRedis } from '../meter/createMeterRedis.ts'
import { larger } from '../meter/larger.ts'
import type { CreditBudgets, Meter } from '../meter/meter.ts'
import { partitionOf } from '../meter/partitionOf.ts'
import { createRedisMeter } from '../meter/redis.ts'
import {
  accountStateOf,
  channelStateOf,
  createPayer,
  grantStateOf,
  type Payer,
  randomAddress,
  token,
  useOf,
} from '../meter/testing/builders.ts'
import { removeKeys } from '../meter/testing/removeKeys.ts'
import { balanceBudgets } from './balanceBudgets.ts'

const redis = createMeterRedis(inject('redisUrl'), 10_000)
const prefix = `test-${randomUUID()}:`
afterAll(async () => {
  await removeKeys(inject('redisUrl'), prefix)
  redis.disconnect()
})

/** Payers of one payee, each in another partition. */
const partitions = [0, 5, 6, 15]
const payersOf = (payee: Address): Payer[] =>
  partitions.map((partition) => ({ ...createPayer(), payee, account: accountIn(partition) }))

function accountIn(partition: number): Address {
  for (;;) {
    const account = randomAddress()
    if (partitionOf(account) === partition) return account
  }
}

async function openMeter(): Promise<{ meter: Meter; budgets: CreditBudgets }> {
  const meter = createRedisMeter({ redis, instance: randomUUID(), prefix: `${prefix}${randomUUID()}:` })
  await meter.ping()
  if (!meter.budgets) throw new Error('This meter has no budgets.')
  return { meter, budgets: meter.budgets }
}

async function heldOf(budgets: CreditBudgets, payee: Address): Promise<bigint> {
  const parts = await budgets.read(token, payee)
  return parts.reduce((sum, { budget, used }) => sum + larger(budget, used), 0n)
}

const policy = 1
const noDebts = async () => {}
const common = { token, policy, usedBefore: [], countDebts: noDebts }

test('two balancers that both believe to be alone never give out more than the limit, interleaved in any way', async () => {
  const amount = fc.bigInt({ min: 1n, max: 40n })
  const charges = fc.array(fc.record({ payer: fc.nat({ max: partitions.length - 1 }), amount }), {
    minLength: 5,
    maxLength: 25,
  })
  let served = 0
  let refused = 0
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), charges, fc.bigInt({ min: 50n, max: 200n }), async (scheduler, uses, maxTotal) => {
      const { meter, budgets } = await openMeter()
      const payee = randomAddress()
      const payers = payersOf(payee)
      for (const payer of payers) await meter.mirror(accountStateOf(payer))
      // Each of their steps comes when the scheduler says so, between any two of the other's, and of charges.
      const interleaved: CreditBudgets = {
        read: scheduler.scheduleFunction(budgets.read),
        lower: scheduler.scheduleFunction(budgets.lower),
        raise: scheduler.scheduleFunction(budgets.raise),
        confirm: scheduler.scheduleFunction(budgets.confirm),
      }
      const charge = scheduler.scheduleFunction(meter.charge)
      const balancer = async () => {
        for (let round = 0; round < 2; round++) {
          await balanceBudgets({ ...common, budgets: interleaved, payee, maxTotal })
        }
      }
      const agents = payers.map(async (_, index) => {
        for (const use of uses.filter(({ payer }) => payer === index)) {
          const limits = { credit: { mode: 'credit', version: policy, maxTotal } as const }
          const decision = await charge(useOf(payers[index] ?? createPayer(), { amount: use.amount, ...limits }))
          if (decision.ok) served++
          else if (decision.code === 'limit.exposure') refused++
          else throw new Error(decision.code)
          expect(await heldOf(budgets, payee)).toBeLessThanOrEqual(maxTotal)
        }
      })
      const all = Promise.all([balancer(), balancer(), ...agents])
      await scheduler.waitFor(all)
      expect(await heldOf(budgets, payee)).toBeLessThanOrEqual(maxTotal)
      expect(await meter.exposureOf(token, payee)).toBeLessThanOrEqual(maxTotal)
      await meter.close()
    }),
    { numRuns: 25, endOnFailure: false },
  )
  expect(Math.min(served, refused)).toBeGreaterThan(0)
}, 120_000)

test('the whole limit can be used wherever the demand is, and not one unit more', async () => {
  const { meter, budgets } = await openMeter()
  const payee = randomAddress()
  const payers = payersOf(payee)
  for (const payer of payers) await meter.mirror(accountStateOf(payer))
  const credit = { mode: 'credit', version: policy, maxTotal: 100n } as const
  let owed = 0n
  for (let call = 0; call < 20; call++) {
    const payer = payers[call % payers.length] ?? createPayer()
    const pay = () => meter.charge(useOf(payer, { amount: 7n, credit }))
    let decision = await pay()
    if (!decision.ok) {
      await balanceBudgets({ ...common, budgets, payee, maxTotal: credit.maxTotal })
      decision = await pay()
    }
    if (decision.ok) owed += 7n
    expect(decision.ok).toBe(call < 14)
  }
  expect(owed).toBe(98n)
  expect(await meter.exposureOf(token, payee)).toBe(98n)
  await meter.close()
})

test('a choice that is newer makes budgets of an older one void, and nobody with the older one can raise any', async () => {
  const { meter, budgets } = await openMeter()
  const payee = randomAddress()
  const [payer = createPayer()] = payersOf(payee)
  await meter.mirror(accountStateOf(payer))
  await balanceBudgets({ ...common, budgets, payee, maxTotal: 1_600n })
  const chargeUnder = async (version: number, maxTotal: bigint) => {
    const decision = await meter.charge(useOf(payer, { amount: 10n, credit: { mode: 'credit', version, maxTotal } }))
    return decision.ok ? 'ok' : decision.code
  }
  expect(await chargeUnder(1, 1_600n)).toBe('ok')
  expect(await chargeUnder(2, 30n)).toBe('limit.exposure')
  const lowered = await balanceBudgets({ ...common, budgets, payee, policy: 2, maxTotal: 30n })
  expect(lowered.outcome).toBe('balanced')
  const older = await balanceBudgets({ ...common, budgets, payee, policy: 1, maxTotal: 1_600n })
  expect(older.outcome).toBe('superseded')
  expect(await heldOf(budgets, payee)).toBe(30n)
  // A gateway that has not heard of the change is held to the new budgets all the same.
  expect([await chargeUnder(1, 1_600n), await chargeUnder(2, 30n), await chargeUnder(1, 1_600n)]).toEqual([
    'ok',
    'ok',
    'limit.exposure',
  ])
  await meter.close()
})

test('a store that lost everything gives nothing until it counts what the journal says is owed', async () => {
  const { meter, budgets } = await openMeter()
  const payee = randomAddress()
  const [debtor = createPayer(), other = createPayer()] = payersOf(payee)
  await meter.mirror(accountStateOf(other))
  const credit = { mode: 'credit', version: policy, maxTotal: 100n } as const
  let counted: number[] = []
  const balance = (countDebts: (wanted: ReadonlySet<number>) => Promise<void>) =>
    balanceBudgets({ ...common, budgets, payee, maxTotal: 100n, countDebts })
  await expect(
    balance(async () => {
      throw new Error('Postgres is gone')
    }),
  ).rejects.toThrow('Postgres is gone')
  expect(await heldOf(budgets, payee)).toBe(0n)
  await balance(async (wanted) => {
    counted = [...wanted]
    const channels = [channelStateOf(debtor, { authorized: 95n, charged: 95n })]
    await meter.mirror(accountStateOf(debtor, { grants: [grantStateOf(debtor, { channels })] }))
  })
  expect(counted).toHaveLength(16)
  expect((await meter.charge(useOf(other, { amount: 6n, credit }))).ok).toBe(false)
  await balance(noDebts)
  expect((await meter.charge(useOf(other, { amount: 6n, credit }))).ok).toBe(false)
  expect((await meter.charge(useOf(other, { amount: 5n, credit }))).ok).toBe(true)
  await meter.close()
})

test('a partition that is lost while its debts are counted is not taken for counted', async () => {
  const { meter, budgets } = await openMeter()
  const payee = randomAddress()
  const fenced = await budgets.lower(3, { token, payee, policy, target: 0n })
  expect(fenced).toMatchObject({ version: 1, counted: false })
  expect(await budgets.confirm(4, { token, payee, version: fenced?.version ?? 0 })).toBe(false)
  expect(await budgets.confirm(3, { token, payee, version: fenced?.version ?? 0 })).toBe(true)
  expect(await budgets.raise(3, { token, payee, version: fenced?.version ?? 0, budget: 5n })).toBe(false)
  expect(await budgets.raise(3, { token, payee, version: 2, budget: 5n })).toBe(true)
  await meter.close()
})
