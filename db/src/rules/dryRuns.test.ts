import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { appendCharges } from '../journal/appendCharges.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeGrant, arrangeMerchant, chargeEvent, randomAddress } from '../testing/fixtures.ts'
import { countChargesForDryRun, listChargesForDryRun, readSpentSince } from './dryRunCharges.ts'
import type { DryRunResult } from './dryRunResult.ts'
import {
  createDryRun,
  finishDryRun,
  getDryRun,
  leaseDryRun,
  listDryRuns,
  maxDryRuns,
  maxPendingDryRuns,
} from './dryRuns.ts'
import { changeRule, createRule } from './rules.ts'
import { listRuleVersions } from './ruleVersions.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const fromAt = new Date('2026-01-01T00:00:00.000Z')
const untilAt = new Date('2026-01-02T00:00:00.000Z')
const now = new Date('2026-01-03T00:00:00.000Z')
const later = (ms: number) => new Date(now.getTime() + ms)
const run = {
  expression: 'amount > 1',
  scope: {},
  action: 'freeze',
  blockSeconds: null,
  ruleId: null,
  ruleVersion: null,
  fromAt,
  untilAt,
} as const
const result: DryRunResult = {
  charges: 0,
  matched: 0,
  unknown: 0,
  failed: 0,
  firstFailure: null,
  spared: 0,
  grants: 0,
  stoppedGrants: 0,
  stoppedCalls: 0,
  stoppedAtomic: '0',
  stops: [],
  examples: [],
  cutShort: null,
  learnedFrom: fromAt.toISOString(),
}
const newOwner = () => {
  const account = randomAddress()
  return { holder: { merchantId: null, account }, actor: `owner:${account.toLowerCase()}` }
}
const ask = (who: ReturnType<typeof newOwner>) => createDryRun(database.db, { ...who, ...run })

/** Ends all that wait, so that tests do not take each other's. */
async function drain(): Promise<string[]> {
  const ids: string[] = []
  for (;;) {
    const leased = await leaseDryRun(database.db, { owner: 'drain', now: later(1e9), leaseMs: 1_000 })
    if (!leased) return ids
    ids.push(leased.id)
    await finishDryRun(database.db, { id: leased.id, owner: 'drain', now, outcome: { result } })
  }
}

test('one worker has a dry run at a time, another takes it over when that one is gone, and the late one ends nothing', async () => {
  await drain()
  const who = newOwner()
  const made = await ask(who)
  const id = made?.id ?? ''
  expect(made).toMatchObject({ ...run, ...who.holder, state: 'pending', result: null })
  const first = await leaseDryRun(database.db, { owner: 'one', now, leaseMs: 1_000 })
  expect(first?.id).toBe(id)
  expect(await leaseDryRun(database.db, { owner: 'two', now, leaseMs: 1_000 })).toBeUndefined()
  expect((await leaseDryRun(database.db, { owner: 'two', now: later(1_001), leaseMs: 1_000 }))?.id).toBe(id)
  const end = { id, now, outcome: { result } }
  expect(await finishDryRun(database.db, { ...end, owner: 'one' })).toBe(false)
  expect(await finishDryRun(database.db, { ...end, owner: 'two' })).toBe(true)
  expect(await getDryRun(database.db, { ...who, id })).toMatchObject({ state: 'done', result, finishedAt: now })
  expect(await getDryRun(database.db, { ...newOwner(), id })).toBeUndefined()
})

test('one whose workers always die fails with a sentence', async () => {
  await drain()
  const who = newOwner()
  const id = (await ask(who))?.id ?? ''
  for (let life = 0; life < 3; life++)
    await leaseDryRun(database.db, { owner: `life ${life}`, now: later(life * 10_000), leaseMs: 1_000 })
  expect(await leaseDryRun(database.db, { owner: 'last', now: later(100_000), leaseMs: 1_000 })).toBeUndefined()
  expect(await getDryRun(database.db, { ...who, id })).toMatchObject({
    state: 'failed',
    error: 'Whoever worked on it stopped 3 times before its end.',
  })
})

test('a holder waits for so many at once, and the oldest are forgotten', async () => {
  await drain()
  const who = newOwner()
  const asked = await Promise.all(Array.from({ length: maxPendingDryRuns + 2 }, () => ask(who)))
  expect(asked.filter((made) => made !== undefined)).toHaveLength(maxPendingDryRuns)
  for (let more = 0; more < maxDryRuns; more++) {
    await drain()
    await ask(who)
  }
  const { items } = await listDryRuns(database.db, { ...who, limit: 200 })
  expect(items).toHaveLength(maxDryRuns)
  expect(items.at(-1)?.id).not.toBe(asked[0]?.id)
  await drain()
})

test('a version names its last dry run, also one that was made before it was stored', async () => {
  await drain()
  const who = newOwner()
  const before = (await ask(who))?.id
  const { expression, scope, action, blockSeconds } = run
  const terms = { name: 'x', expression, scope, action, blockSeconds, severity: 'warning' } as const
  const rule = await createRule(database.db, { ...who, terms })
  const id = rule?.id ?? ''
  const dryRuns = async () =>
    (await listRuleVersions(database.db, { ...who, id })).items.map(({ version, dryRunId }) => [version, dryRunId])
  expect(await dryRuns()).toEqual([[1, before]])
  await changeRule(database.db, { ...who, id, terms: { expression: 'amount > 2' } })
  expect(await dryRuns()).toEqual([
    [2, null],
    [1, before],
  ])
  const again = await createDryRun(database.db, {
    ...who,
    ...run,
    expression: 'amount > 2',
    ruleId: id,
    ruleVersion: 2,
  })
  expect((await dryRuns())[0]).toEqual([2, again?.id])
  await drain()
})

test('the charges of a dry run are those of the account, or of grants that pay the merchant, in their order', async () => {
  const [seller, other] = [await arrangeMerchant(database.db), await arrangeMerchant(database.db)]
  const mine = await arrangeGrant(database.db, [seller.merchant, other.merchant])
  const another = await arrangeGrant(database.db, [other.merchant])
  const at = Date.UTC(2026, 0, 1, 12)
  await database.query(`select ensure_charge_partition('2026-01-01')`)
  await appendCharges(database.db, [
    chargeEvent(mine, seller, { amount: 1n, cumulativeAmount: 1n, occurredAtMs: at }),
    chargeEvent(another, other, { amount: 2n, cumulativeAmount: 2n, occurredAtMs: at + 1 }),
    chargeEvent(mine, other, { amount: 4n, cumulativeAmount: 4n, occurredAtMs: at + 2 }),
  ])
  const range = { from: fromAt, until: untilAt }
  const amounts = async (selection: Parameters<typeof listChargesForDryRun>[1]) =>
    (await listChargesForDryRun(database.db, selection)).map(({ amount }) => amount)
  expect(await amounts({ ...range, limit: 10, account: mine.account })).toEqual([1n, 4n])
  expect(await amounts({ ...range, limit: 10, merchantId: seller.merchant.id })).toEqual([1n, 4n])
  expect(await amounts({ ...range, limit: 10, grantIds: [another.grantId] })).toEqual([2n])
  expect(await amounts({ ...range, limit: 2 })).toEqual([1n, 2n])
  const [, second] = await listChargesForDryRun(database.db, { ...range, limit: 2 })
  const after = second && { at: second.occurredAt, eventId: second.eventId }
  expect(await amounts({ ...range, limit: 2, after })).toEqual([4n])
  expect(await countChargesForDryRun(database.db, { ...range, account: mine.account, most: 10 })).toBe(2)
  expect(await countChargesForDryRun(database.db, { ...range, most: 2 })).toBe(2)
  const since = { grantIds: [mine.grantId, another.grantId], since: new Date(at + 1) }
  expect(await readSpentSince(database.db, since)).toEqual(
    new Map([
      [mine.grantId, 4n],
      [another.grantId, 2n],
    ]),
  )
})
