import { setImmediate } from 'node:timers/promises'
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
  /** Grants in memory at once; another's memory is kept as text until it is saved. */
  maxGrants: number
  /** How long a budget that was read counts. */
  budgetTtlMs: number
  /** A budget could not be read again; the one before goes on. */
  onStaleBudgets?: ((error: unknown) => void) | undefined
}

export type Watch = {
  /**
   * Judges charges that were not seen before, in this order. One call at a time.
   *
   * @throws when a grant's memory cannot be loaded: what was not judged may be told again, and what was found comes with the
   * next answer
   */
  take(charges: readonly Charge[]): Promise<Found[]>
  /**
   * Hands over the memories that changed since the last time, as they are now, and the charges that are in them; charges are
   * judged meanwhile. What `write` does not answer true for is handed over again. One call at a time.
   */
  save(write: (snapshot: WatchSnapshot) => Promise<boolean>): Promise<void>
  grants(): number
}

export type WatchSnapshot = { states: { grantId: Hex; state: string }[]; position: string }

type Watched = { memory: GrantMemory; budget: Budget | undefined }
/** As read, and what was charged since. */
type Budget = { limit: bigint; charged: bigint; funds: bigint; readAtMs: number }

/** Grants whose memory is written down before others have their turn. */
const grantsAtOnce = 5

/** The state of the sentinel: what is remembered of the grants that were charged lately. */
export function createWatch(deps: WatchDeps): Watch {
  const { seen, scorer, clock, onStaleBudgets = () => {} } = deps
  /** Memories that had to leave and are not saved yet. */
  const dropped = new Map<Hex, string>()
  const dirty = new Set<Hex>()
  let snapshot: { pending: Set<Hex>; states: Map<Hex, string> } | undefined
  /** States that are on their way to Postgres, which does not have them yet. */
  let saving: ReadonlyMap<Hex, string> = new Map()
  const found: Found[] = []
  let isReadingBudgets = false
  const grants = new LRUCache<Hex, Watched>({
    max: deps.maxGrants,
    dispose({ memory }, grantId, reason) {
      if (reason !== 'evict' || (!dirty.has(grantId) && !snapshot?.pending.has(grantId))) return
      writeDown(grantId, memory)
      dirty.delete(grantId)
      dropped.set(grantId, encodeGrantMemory(memory))
    },
  })

  /** What a snapshot still needs of a grant, before it changes or goes. */
  function writeDown(grantId: Hex, memory: GrantMemory): void {
    if (snapshot?.pending.delete(grantId)) snapshot.states.set(grantId, encodeGrantMemory(memory))
  }

  /** Loads grants that are not in memory. Budgets that are too old are read again meanwhile. */
  async function prepare(ids: readonly Hex[]): Promise<void> {
    const unknown = ids.filter((id) => !grants.has(id))
    void readBudgetsAgain(ids)
    if (unknown.length === 0) return
    const [memories, budgets] = await Promise.all([deps.loadMemories(unknown), deps.loadBudgets(unknown)])
    for (const id of unknown) {
      const left = dropped.get(id)
      const text = left ?? saving.get(id) ?? memories.get(id)
      const memory = (text === undefined ? undefined : decodeGrantMemory(text, scorer)) ?? createGrantMemory(scorer)
      grants.set(id, { memory, budget: undefined })
      if (left !== undefined) {
        dropped.delete(id)
        dirty.add(id)
      }
    }
    setBudgets(budgets)
  }

  async function readBudgetsAgain(ids: readonly Hex[]): Promise<void> {
    if (isReadingBudgets) return
    const nowMs = clock()
    const stale = ids.filter((id) => {
      const readAtMs = grants.peek(id)?.budget?.readAtMs
      return grants.has(id) && (readAtMs === undefined || nowMs - readAtMs > deps.budgetTtlMs)
    })
    if (stale.length === 0) return
    isReadingBudgets = true
    try {
      setBudgets(await deps.loadBudgets(stale))
    } catch (error) {
      onStaleBudgets(error)
    } finally {
      isReadingBudgets = false
    }
  }

  function setBudgets(budgets: readonly GrantBudget[]): void {
    const readAtMs = clock()
    for (const { grantId, totalLimit, charged, funds } of budgets) {
      const watched = grants.peek(grantId)
      if (watched) watched.budget = { limit: totalLimit, charged, funds, readAtMs }
    }
  }

  function judge(charge: Charge): Found[] {
    const watched = grants.get(charge.grantId)
    if (!watched) return []
    const { memory, budget } = watched
    writeDown(charge.grantId, memory)
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

  async function takeSnapshot(): Promise<WatchSnapshot> {
    const encoding = seen.encode()
    const current = { pending: new Set(dirty), states: new Map(dropped) }
    snapshot = current
    dirty.clear()
    let count = 0
    for (const grantId of current.pending) {
      const watched = grants.peek(grantId)
      if (watched) writeDown(grantId, watched.memory)
      if (++count % grantsAtOnce === 0) await setImmediate()
    }
    snapshot = undefined
    saving = current.states
    const position = await encoding
    // Whoever asked for what is in it has been answered by then.
    await setImmediate()
    return { states: [...current.states].map(([grantId, state]) => ({ grantId, state })), position }
  }

  function putBack(states: WatchSnapshot['states']): void {
    for (const { grantId, state } of states) {
      if (grants.has(grantId)) dirty.add(grantId)
      else if (!dropped.has(grantId)) dropped.set(grantId, state)
    }
  }

  return {
    async take(charges) {
      // In parts that fit, so that no grant is dropped before it is judged.
      for (let start = 0; start < charges.length; start += deps.maxGrants) {
        const fresh = charges.slice(start, start + deps.maxGrants).filter((charge) => !seen.has(charge))
        await prepare([...new Set(fresh.map(({ grantId }) => grantId))])
        for (const charge of fresh) if (seen.add(charge)) found.push(...judge(charge))
      }
      return found.splice(0)
    },
    async save(write) {
      const taken = await takeSnapshot()
      let isSaved = false
      try {
        isSaved = await write(taken)
      } finally {
        saving = new Map()
        if (!isSaved) putBack(taken.states)
        else for (const { grantId, state } of taken.states) if (dropped.get(grantId) === state) dropped.delete(grantId)
      }
    },
    grants: () => grants.size,
  }
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
