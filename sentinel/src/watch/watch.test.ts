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
  const save = () =>
    watch.save(async ({ states }) => {
      for (const { grantId, state } of states) saved.set(grantId, state)
      return true
    })
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
  await first.save()
  const second = arrange({
    loadMemories: first.deps.loadMemories,
    seen: createSeenCharges(await first.deps.seen.encode()),
  })
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
    if (call % 10 === 0) await save()
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

test('charges that could not be judged, because Postgres was gone, are judged when they are told again', async () => {
  let isGone = true
  const { watch } = arrange({
    loadMemories: async () => {
      if (isGone) throw new Error('Postgres is gone.')
      return new Map()
    },
  })
  const charges = Array.from({ length: 101 }, () => chargeOf())
  await expect(watch.take(charges)).rejects.toThrow('Postgres is gone.')
  isGone = false
  expect(rulesOf(await watch.take(charges))).toEqual(['calls.per_minute'])
})

test('what was found before a later part could not be judged comes with the next answer', async () => {
  let loads = 0
  const { watch } = arrange({
    maxGrants: 101,
    loadMemories: async () => {
      loads += 1
      if (loads === 2) throw new Error('Postgres is gone.')
      return new Map()
    },
  })
  const charges = [...Array.from({ length: 101 }, () => chargeOf()), chargeOf({ grantId: grantIdOf(2) })]
  await expect(watch.take(charges)).rejects.toThrow('Postgres is gone.')
  expect(rulesOf(await watch.take(charges))).toEqual(['calls.per_minute'])
})

test('a budget that takes long to read again holds up no judgement', async () => {
  let nowMs = startMs
  let reads = 0
  const { watch } = arrange({
    clock: () => nowMs,
    loadBudgets: () => (reads++ === 0 ? Promise.resolve([]) : new Promise(() => {})),
  })
  await watch.take([chargeOf()])
  nowMs += 60_000
  expect(rulesOf(await watch.take(Array.from({ length: 100 }, () => chargeOf())))).toEqual(['calls.per_minute'])
  expect(reads).toBe(2)
})

test('a save has every memory as it was at one moment, however much is charged meanwhile, and the charges that are in them', async () => {
  const first = arrange()
  const ids = Array.from({ length: 90 }, (_, grant) => grantIdOf(grant))
  const round = () => ids.map((grantId) => chargeOf({ grantId }))
  for (let call = 0; call < 99; call++) await first.watch.take(round())
  const saving = { states: new Map<`0x${string}`, string>(), position: '' }
  const saved = first.watch.save(async ({ states, position }) => {
    saving.states = new Map(states.map(({ grantId, state }) => [grantId, state]))
    saving.position = position
    return true
  })
  // The hundredth call of each grant, while the memories are written down.
  const meanwhile = round()
  await first.watch.take(meanwhile)
  await saved
  const loadMemories = async () => saving.states
  const second = arrange({ loadMemories, seen: createSeenCharges(saving.position) })
  expect(await second.watch.take(meanwhile)).toEqual([])
  expect(await second.watch.take(round())).toHaveLength(90)
})

test('what could not be saved is saved the next time, also of grants that have left the memory by then', async () => {
  const { watch } = arrange({ maxGrants: 2 })
  for (let grant = 0; grant < 5; grant++) await watch.take([chargeOf({ grantId: grantIdOf(grant) })])
  await expect(watch.save(() => Promise.reject(new Error('Postgres is gone.')))).rejects.toThrow('Postgres is gone.')
  await watch.save(async () => false)
  const told: number[] = []
  const write = async ({ states }: { states: unknown[] }) => {
    told.push(states.length)
    return true
  }
  await watch.save(write)
  await watch.save(write)
  expect(told).toEqual([5, 0])
})

test('memory survives as text, and what another version wrote is learned anew', () => {
  const scorer = createGrantScorer([])
  const memory = createGrantMemory(scorer)
  memory.rules.spentAtomic = 2n ** 80n
  expect(decodeGrantMemory(encodeGrantMemory(memory), scorer)).toEqual(memory)
  expect(decodeGrantMemory('{"rules":{},"scorer":{}}', scorer)).toBeUndefined()
})
