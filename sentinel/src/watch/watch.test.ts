import type { GrantBudget } from '@protocolbanks/stream-db'
import { expect, test } from 'vitest'
import { firstRules } from '../rules/firstRules.ts'
import { createGrantScorer } from '../scoring/grantScorer.ts'
import { type Charge, createWatch, type WatchDeps } from './createWatch.ts'
import { createGrantMemory, decodeGrantMemory, encodeGrantMemory } from './grantMemory.ts'
import { createSeenCharges } from './seenCharges.ts'

const account = '0x00000000000000000000000000000000000000aa'
const payee = '0x00000000000000000000000000000000000000bb'
const startMs = Date.UTC(2026, 0, 5, 8)
const grantIdOf = (number: number) => `0x${number.toString(16).padStart(64, '0')}` as const

let requests = 0
function chargeOf(change: Partial<Charge> = {}): Charge {
  requests += 1
  const requestId = `request-${requests}`
  return {
    requestId,
    account,
    grantId: grantIdOf(1),
    payee,
    service: 'weather',
    amountAtomic: 10_000n,
    atMs: startMs,
    ...change,
  }
}

/** A watch, and what it saved. */
function arrange(change: Partial<WatchDeps> = {}) {
  const saved = new Map<`0x${string}`, string>()
  let budgetReads = 0
  const deps: WatchDeps = {
    rules: { ...firstRules, rateWarmUpMs: 0 },
    scorer: createGrantScorer([]),
    decimals: 6,
    cooldownMs: 600_000,
    seen: createSeenCharges(),
    loadMemories: async (ids) => new Map(ids.flatMap((id) => (saved.has(id) ? [[id, saved.get(id) ?? '']] : []))),
    async loadBudgets(ids) {
      budgetReads += ids.length
      return ids.map(
        (grantId): GrantBudget => ({
          grantId,
          account,
          totalLimit: 50_000_000n,
          charged: 0n,
          funds: 20_000_000n,
          guardian: null,
        }),
      )
    },
    clock: () => startMs,
    maxGrants: 100,
    budgetTtlMs: 1_000,
    ...change,
  }
  const watch = createWatch(deps)
  const save = () => {
    for (const { grantId, state } of watch.changed()) saved.set(grantId, state)
  }
  return { watch, deps, saved, save, budgetReads: () => budgetReads }
}

const rulesOf = (found: { rule: string }[]) => found.map(({ rule }) => rule)

test('the charge that is one too many in a minute is found, and told in one sentence', async () => {
  const { watch } = arrange()
  const charges = Array.from({ length: 101 }, (_, index) => chargeOf({ atMs: startMs + index * 100 }))
  const found = await watch.take(charges)
  expect(found).toHaveLength(1)
  expect(found[0]).toMatchObject({
    rule: 'calls.per_minute',
    action: 'freeze',
    inputs: { calls: '101', sinceMs: `${startMs}` },
    explanation: 'It made 101 calls within a minute.',
    charge: charges[100],
  })
})

test('a charge that is told twice is judged once, also when the second time it was captured for less', async () => {
  const { watch } = arrange()
  const charges = Array.from({ length: 60 }, () => chargeOf())
  await watch.take(charges)
  expect(await watch.take(charges.map((charge) => ({ ...charge, amountAtomic: 4n })))).toEqual([])
  // Sixty of them twice would have been more than a hundred.
  expect(rulesOf(await watch.take([chargeOf()]))).toEqual([])
})

test('a sentinel that goes on from what another saved finds what that one would have found', async () => {
  const first = arrange()
  await first.watch.take(Array.from({ length: 100 }, () => chargeOf()))
  first.save()
  const second = arrange({ loadMemories: first.deps.loadMemories, seen: createSeenCharges(first.deps.seen.encode()) })
  expect(rulesOf(await second.watch.take([chargeOf()]))).toEqual(['calls.per_minute'])
})

test('more grants than there is memory for are watched as well, because what is dropped is not forgotten', async () => {
  const { watch, save } = arrange({ maxGrants: 3 })
  const found: string[] = []
  for (let call = 0; call <= 100; call++) {
    const charges = Array.from({ length: 7 }, (_, grant) =>
      chargeOf({ grantId: grantIdOf(grant), atMs: startMs + call }),
    )
    found.push(...rulesOf(await watch.take(charges)))
    if (call % 10 === 0) save()
    expect(watch.grants()).toBeLessThanOrEqual(3)
  }
  expect(found).toEqual(Array.from({ length: 7 }, () => 'calls.per_minute'))
})

test('low budget and low funds alert once, by what is charged and not only by what was read', async () => {
  const { watch, budgetReads } = arrange()
  const found = []
  for (let call = 0; call < 19; call++) found.push(...(await watch.take([chargeOf({ amountAtomic: 1_000_000n })])))
  expect(found).toMatchObject([
    { rule: 'funds.low', action: 'alert', explanation: 'The account can pay 1 more; it was 19.' },
  ])
  expect(budgetReads()).toBe(1)
})

test('memory survives as text, and what another version wrote is learned anew', () => {
  const scorer = createGrantScorer([])
  const memory = createGrantMemory(scorer)
  memory.rules.spentAtomic = 2n ** 80n
  expect(decodeGrantMemory(encodeGrantMemory(memory), scorer)).toEqual(memory)
  expect(decodeGrantMemory('{"rules":{},"scorer":{}}', scorer)).toBeUndefined()
})
