import type { GrantBudget } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { LRUCache } from 'lru-cache'
import { createGrantMemory, decodeGrantMemory, encodeGrantMemory, type GrantMemory } from './grantMemory.ts'
import { type JudgeOptions, judgeCharge } from './judgeCharge.ts'
import type { Judgement } from './judgement.ts'
import type { SeenCharges } from './seenCharges.ts'

/** A charge as the feed or the journal tells it. */
export type Charge = {
  requestId: string
  account: Address
  grantId: Hex
  payee: Address
  service: string
  amountAtomic: bigint
  atMs: number
  /** Where the call came from, as a hash; undefined where it is not known. */
  host?: string | undefined
}

export type Found = Judgement & { charge: Charge }

export type WatchDeps = JudgeOptions & {
  seen: SeenCharges
  /** What was remembered of these grants; those that are not known are left out. */
  loadMemories(grantIds: readonly Hex[]): Promise<Map<Hex, string>>
  loadBudgets(grantIds: readonly Hex[]): Promise<GrantBudget[]>
  clock(): number
  /** Grants in memory at once; another's memory is saved before it is dropped. */
  maxGrants: number
  /** How long a budget that was read counts. */
  budgetTtlMs: number
}

export type Watch = {
  /** Judges charges that were not seen before, in this order. One call at a time. */
  take(charges: readonly Charge[]): Promise<Found[]>
  /** Memories that changed since the last time. They count as saved until `putBack`. */
  changed(): { grantId: Hex; state: string }[]
  /** They could not be saved. */
  putBack(grantIds: readonly Hex[]): void
  grants(): number
}

type Watched = { memory: GrantMemory; budget: Budget | undefined }
/** As read, and what was charged since. */
type Budget = { limit: bigint; charged: bigint; funds: bigint; readAtMs: number }

/** The state of the sentinel: what is remembered of the grants that were charged lately. */
export function createWatch(deps: WatchDeps): Watch {
  const { seen, scorer, clock } = deps
  const dropped = new Map<Hex, string>()
  const grants = new LRUCache<Hex, Watched>({
    max: deps.maxGrants,
    dispose(watched, grantId, reason) {
      if (reason === 'evict' && dirty.has(grantId)) dropped.set(grantId, encodeGrantMemory(watched.memory))
    },
  })
  const dirty = new Set<Hex>()

  /** Reads what is not in memory, and budgets that are too old, with two questions. */
  async function prepare(charges: readonly Charge[]): Promise<void> {
    const nowMs = clock()
    const ids = [...new Set(charges.map(({ grantId }) => grantId))]
    const unknown = ids.filter((id) => !grants.has(id))
    const stale = ids.filter((id) => {
      const readAtMs = grants.peek(id)?.budget?.readAtMs
      return readAtMs === undefined || nowMs - readAtMs > deps.budgetTtlMs
    })
    const [memories, budgets] = await Promise.all([deps.loadMemories(unknown), deps.loadBudgets(stale)])
    for (const id of unknown) {
      const text = dropped.get(id) ?? memories.get(id)
      const memory = (text === undefined ? undefined : decodeGrantMemory(text, scorer)) ?? createGrantMemory(scorer)
      grants.set(id, { memory, budget: undefined })
    }
    for (const { grantId, totalLimit, charged, funds } of budgets) {
      const watched = grants.peek(grantId)
      if (watched) watched.budget = { limit: totalLimit, charged, funds, readAtMs: nowMs }
    }
  }

  function judge(charge: Charge): Found[] {
    const watched = grants.get(charge.grantId)
    if (!watched) return []
    const { memory, budget } = watched
    dirty.add(charge.grantId)
    if (budget) {
      budget.charged += charge.amountAtomic
      budget.funds = larger(0n, budget.funds - charge.amountAtomic)
    }
    const left = budget
      ? {
          budgetAtomic: budget.limit,
          remainingBudgetAtomic: larger(0n, budget.limit - budget.charged),
          fundsAtomic: budget.funds,
        }
      : { budgetAtomic: 0n, remainingBudgetAtomic: 0n }
    return judgeCharge(memory, { ...charge, ...left }, deps).map((judgement) => ({ ...judgement, charge }))
  }

  return {
    async take(charges) {
      // In parts that fit, so that no grant is dropped before it is judged.
      const found: Found[] = []
      for (let start = 0; start < charges.length; start += deps.maxGrants) {
        const fresh = charges.slice(start, start + deps.maxGrants).filter((charge) => seen.add(charge))
        await prepare(fresh)
        for (const charge of fresh) found.push(...judge(charge))
      }
      return found
    },
    changed() {
      const states = [...dirty].flatMap((grantId) => {
        const watched = grants.peek(grantId)
        const state = watched ? encodeGrantMemory(watched.memory) : dropped.get(grantId)
        return state === undefined ? [] : [{ grantId, state }]
      })
      dirty.clear()
      dropped.clear()
      return states
    },
    putBack(grantIds) {
      for (const grantId of grantIds) dirty.add(grantId)
    },
    grants: () => grants.size,
  }
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
