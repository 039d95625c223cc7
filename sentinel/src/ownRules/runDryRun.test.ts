import type { DryRun, GrantBudget, Charge as JournalCharge } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import { firstRules } from '../rules/firstRules.ts'
import { createGrantScorer } from '../scoring/grantScorer.ts'
import { fromJournal } from '../watch/fromJournal.ts'
import { createGrantMemory } from '../watch/grantMemory.ts'
import { judgeCharge } from '../watch/judgeCharge.ts'
import { noRules } from './applyOwnRules.ts'
import { toOwnRule } from './createRuleBook.ts'
import { type DryRunDeps, runDryRun } from './runDryRun.ts'

const account: Address = '0x00000000000000000000000000000000000000aA'
const shop: Address = '0x00000000000000000000000000000000000000bB'
const other: Address = '0x00000000000000000000000000000000000000cC'
const grantOf = (number: number): Hex => `0x${number.toString(16).padStart(64, '0')}`
const fromAt = new Date('2026-01-10T00:00:00.000Z')
const untilAt = new Date('2026-01-11T00:00:00.000Z')

let charges = 0
function chargeOf(seconds: number, change: Partial<JournalCharge> = {}): JournalCharge {
  charges++
  return {
    eventId: `event-${String(charges).padStart(8, '0')}`,
    occurredAt: new Date(fromAt.getTime() + seconds * 1_000),
    grantId: grantOf(1),
    payee: shop,
    account,
    merchantId: 'mer_1',
    serviceId: 'svc_a',
    requestId: `request-${charges}`,
    fingerprint: '0x',
    amount: 1_000_000n,
    cumulativeAmount: 0n,
    traceId: null,
    journalledAt: null,
    client: null,
    ...change,
  }
}

/** Runs a rule over these charges, which are the journal. */
function run(journal: readonly JournalCharge[], change: Partial<DryRun> = {}, deps: Partial<DryRunDeps> = {}) {
  const wanted: DryRun = {
    id: 'dry_1',
    merchantId: null,
    account,
    ruleId: null,
    ruleVersion: null,
    expression: 'sum("1h") > 2',
    scope: {},
    action: 'freeze',
    blockSeconds: null,
    fromAt,
    untilAt,
    state: 'pending',
    result: null,
    error: null,
    actor: 'owner',
    createdAt: fromAt,
    finishedAt: null,
    ...change,
  }
  const rule = toOwnRule({
    ...wanted,
    version: 1,
    name: 'x',
    severity: 'info',
    merchantPayee: wanted.merchantId === null ? null : shop,
  })
  const within = ({ from, until }: { from: Date; until: Date }) =>
    journal
      .filter(({ occurredAt }) => occurredAt >= from && occurredAt < until)
      .sort((a, b) => a.occurredAt.getTime() - b.occurredAt.getTime() || (a.eventId < b.eventId ? -1 : 1))
  return runDryRun(wanted, rule, {
    rules: firstRules,
    scorer: createGrantScorer([]),
    decimals: 6,
    async listCharges({ after, limit, ...range }) {
      const list = within(range)
      const start = after ? list.findIndex(({ eventId }) => eventId === after.eventId) + 1 : 0
      return list.slice(start, start + limit)
    },
    countCharges: async (range) => Math.min(within(range).length, range.most),
    loadBudgets: async (grantIds) =>
      grantIds.map(
        (grantId): GrantBudget => ({
          ...{ grantId, account, totalLimit: 100_000_000n, funds: 0n, guardian: null },
          charged: journal.reduce((sum, charge) => (charge.grantId === grantId ? sum + charge.amount : sum), 0n),
        }),
      ),
    readSpentSince: async ({ grantIds, since }) =>
      new Map(
        grantIds.map((grantId) => [
          grantId,
          journal.reduce(
            (sum, charge) => (charge.grantId === grantId && charge.occurredAt >= since ? sum + charge.amount : sum),
            0n,
          ),
        ]),
      ),
    sparedBy: () => undefined,
    clock: () => 0,
    pause: async () => {},
    ...deps,
  })
}

test('a freeze is told with the charge that it would have come with, and what would not have been charged after it', async () => {
  const journal = [
    ...Array.from({ length: 5 }, (_, second) => chargeOf(second)),
    ...Array.from({ length: 2 }, (_, second) => chargeOf(second, { grantId: grantOf(2) })),
  ]
  expect(await run(journal)).toMatchObject({
    charges: 5,
    matched: 1,
    grants: 2,
    stoppedGrants: 1,
    stoppedCalls: 2,
    stoppedAtomic: '2000000',
    stops: [
      {
        grantId: grantOf(1),
        payee: null,
        at: '2026-01-10T00:00:02.000Z',
        requestId: journal[2]?.requestId,
        until: null,
        callsAfter: 2,
        atomicAfter: '2000000',
      },
    ],
    examples: [{ requestId: journal[2]?.requestId, values: { 'sum("1h")': '3' } }],
    cutShort: null,
  })
})

test('a block lets go on, and may come again; an alert stops nothing', async () => {
  const journal = Array.from({ length: 9 }, (_, minute) => chargeOf(minute * 60))
  const blocked = await run(journal, { expression: 'amount > 0', action: 'block', blockSeconds: 150 })
  expect(blocked).toMatchObject({ charges: 3, matched: 3, stoppedGrants: 1, stoppedCalls: 6 })
  expect(blocked.stops.map(({ at, until, callsAfter }) => [at, until, callsAfter])).toEqual([
    ['2026-01-10T00:00:00.000Z', '2026-01-10T00:02:30.000Z', 2],
    ['2026-01-10T00:03:00.000Z', '2026-01-10T00:05:30.000Z', 2],
    ['2026-01-10T00:06:00.000Z', '2026-01-10T00:08:30.000Z', 2],
  ])
  expect(await run(journal, { action: 'alert' })).toMatchObject({ charges: 9, matched: 7, stoppedCalls: 0, stops: [] })
})

test('says of each charge what the live judge would have said, in windows that began before the time', async () => {
  const journal = [
    ...Array.from({ length: 40 }, (_, index) =>
      chargeOf(-3_000 + index * 60, { amount: BigInt(100_000 * (index % 7)) }),
    ),
    ...Array.from({ length: 40 }, (_, index) =>
      chargeOf(index * 45, { amount: BigInt(250_000 * (index % 5)), payee: index % 3 === 0 ? other : shop }),
    ),
  ]
  const expression = 'sum("1h") > 10 && (amount > average || payeeCalls("10m") > 8) && remainingBudget < 90'
  const tried = await run(journal, { expression, action: 'alert' })
  const scorer = createGrantScorer([])
  const memory = createGrantMemory(scorer)
  const rule = toOwnRule({
    ...{ id: 'rul_1', version: 1, name: 'x', merchantId: null, account, merchantPayee: null, expression, scope: {} },
    ...{ action: 'alert', severity: 'info', blockSeconds: null },
  })
  let [left, matched] = [100_000_000n, 0]
  for (const journalled of journal.toSorted((a, b) => a.occurredAt.getTime() - b.occurredAt.getTime())) {
    const charge = fromJournal(journalled)
    left -= charge.amountAtomic
    memory.quiet = {}
    const found = judgeCharge(
      memory,
      { ...charge, budgetAtomic: 100_000_000n, remainingBudgetAtomic: left },
      { rules: firstRules, scorer, decimals: 6, cooldownMs: 1, ownRules: { ...noRules, rulesFor: () => [rule] } },
    )
    if (journalled.occurredAt >= fromAt && found.some(({ ruleId }) => ruleId === 'rul_1')) matched++
  }
  expect(matched).toBeGreaterThan(5)
  expect(tried.matched).toBe(matched)
  expect(tried.learnedFrom).toBe('2026-01-03T00:00:00.000Z')
})

test("a merchant's rule would have stopped what went to the merchant, and counts nothing else", async () => {
  const merchants = { merchantId: 'mer_1', account: null, expression: 'calls("1h") > 1' }
  const journal = [chargeOf(0), chargeOf(1, { payee: other }), chargeOf(2), chargeOf(3, { payee: other }), chargeOf(4)]
  expect(await run(journal, merchants)).toMatchObject({
    charges: 2,
    matched: 1,
    stoppedCalls: 1,
    stops: [{ payee: shop, requestId: journal[2]?.requestId, callsAfter: 1 }],
  })
})

test('what is spared, not known or cannot be evaluated is counted, and stops nothing', async () => {
  const journal = [chargeOf(0), chargeOf(1)]
  expect(await run(journal, { expression: 'amount > 0' }, { sparedBy: () => 'the grant' })).toMatchObject({
    matched: 2,
    spared: 2,
    stoppedGrants: 0,
  })
  expect(await run(journal, { expression: 'funds < 1' })).toMatchObject({ charges: 2, matched: 0, unknown: 2 })
  expect(await run(journal, { expression: '1 / (hour - hour) == 1' })).toMatchObject({
    failed: 2,
    firstFailure: 'division by zero',
  })
})

test('goes so far and says so: after so many charges, so much time, or for so many grants', async () => {
  const journal = Array.from({ length: 2_000 }, (_, second) => chargeOf(second, { grantId: grantOf(second % 4) }))
  const quiet = { expression: 'amount > 100' }
  const cut = async (bounds: DryRunDeps['bounds'], clock = () => 0) =>
    (await run(journal, quiet, { bounds, clock })).cutShort
  expect(await cut({})).toBeNull()
  expect(await cut({ charges: 700 })).toEqual({ at: journal[699]?.occurredAt.toISOString(), reason: 'charges' })
  let now = 0
  expect(await cut({ ms: 3 }, () => now++)).toMatchObject({ reason: 'time' })
  expect(await cut({ grants: 3 })).toEqual({ at: journal[3]?.occurredAt.toISOString(), reason: 'grants' })
  const before = Array.from({ length: 50 }, (_, hour) => chargeOf(-3_600 * (hour + 30)))
  const { learnedFrom } = await run([...before, ...journal], quiet, { bounds: { learnCharges: 10 } })
  expect(learnedFrom).toBe('2026-01-09T00:00:00.000Z')
})
