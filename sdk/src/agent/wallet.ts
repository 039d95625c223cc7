import type { Address } from '@protocolbanks/stream-protocol'
import { type AgentState, type AgentStore, readState, writeState } from './agentStore.ts'
import { HostNotAllowedError, LimitExceededError } from './errors.ts'
import type { AgentGrant } from './grant.ts'
import {
  type Claim,
  conclude,
  type Discrepancy,
  type Dispute,
  emptyLedger,
  extend,
  type Ledger,
  type LedgerLimits,
  meet,
  type Outcome,
  type Reservation,
  type ReserveResult,
  reserve,
  spentOf,
} from './ledger.ts'
import { type AgentLimits, toHostLimits, toLedgerLimits } from './limits.ts'

/** Room for one call, in the grant's ledger and in those of its host and of the budget. */
export type WalletHold = Reservation & { parts: { part: Part; reservation: Reservation }[] }

/** A further ledger that a call has to fit in. It knows this agent's calls alone, and no figures of a payee. */
type Part = { name: string; limits: LedgerLimits; host: string | undefined }

/** What one agent has spent and promised under a grant, and what its limits leave. */
export type Wallet = {
  /** Reads the store, once. Nothing may be reserved before. @throws StoredStateError, what the store throws */
  open(): Promise<void>
  /** @throws HostNotAllowedError, LimitExceededError; undefined: a dispute closed the payee */
  reserve(url: URL, payee: Address, price: bigint): WalletHold | undefined
  /**
   * Room for the next segment of a stream, within the same limits; what is returned takes the hold's place.
   *
   * @throws LimitExceededError; undefined: a dispute closed the payee
   */
  extend(url: URL, hold: WalletHold, more: bigint): WalletHold | undefined
  /** Takes in what the head of a stream tells of the channel, at the first contact. */
  meet(payee: Address, heldAtomic: bigint, claim: Claim): void
  /** Undoes what `extend` added, when nobody signed for it. */
  giveBack(extended: WalletHold, more: bigint): void
  conclude(hold: WalletHold, outcome: Outcome): { dispute?: Dispute; discrepancy?: Discrepancy }
  /** Resolves when everything reserved so far is in the store. */
  saved(): Promise<void>
  /** Charged, and in flight, at all payees; base units. */
  spent(): bigint
  /** What is left of the budget; undefined without one. */
  remaining(): bigint | undefined
}

export type WalletOptions = {
  grant: AgentGrant
  limits: AgentLimits
  decimals: number
  store: AgentStore | undefined
  clock: () => number
}

export function createWallet({ grant, limits, decimals, store, clock }: WalletOptions): Wallet {
  const ledgerLimits = toLedgerLimits(limits, grant, decimals)
  const { allowedHosts } = limits
  const hosts = new Map<string, Part>()
  for (const [host, own] of Object.entries(limits.perHost ?? {})) {
    hosts.set(host, { name: host, limits: toHostLimits(own, decimals), host })
  }
  const budgetLimits = toHostLimits({ maxTotal: limits.budget }, decimals)
  const budget: Part | undefined =
    budgetLimits.maxTotal === undefined ? undefined : { name: 'budget', limits: budgetLimits, host: undefined }

  let state: AgentState = { ledger: emptyLedger, hosts: new Map() }
  /** Of this process alone, so it is not in the store. */
  let ofBudget = emptyLedger
  let opening: Promise<void> | undefined
  let saving: Promise<void> | undefined
  let savingNext: Promise<void> | undefined

  async function load(): Promise<void> {
    if (store) state = readState(await store.load(grant.grantId))
  }

  function save(): Promise<void> {
    return store ? store.save(grant.grantId, writeState(state)) : Promise.resolve()
  }

  function partsOf({ host, hostname }: URL): Part[] {
    const part = hosts.get(host) ?? hosts.get(hostname)
    return [part, budget].filter((one) => one !== undefined)
  }

  function refuse(url: string, part: Part, found: Extract<ReserveResult, { ok: false }>): never {
    // These are told no figures of a payee, so they dispute none.
    if (found.limit === 'disputed') throw new Error(`${part.name} disputes what it was never told`)
    const limit = part === budget ? 'budget' : found.limit
    throw new LimitExceededError({ url, decimals, ...found, limit, host: part.host })
  }

  const ledgerOf = (part: Part) => (part === budget ? ofBudget : (state.hosts.get(part.name) ?? emptyLedger))

  function put(part: Part, ledger: Ledger): void {
    if (part === budget) ofBudget = ledger
    else state = { ...state, hosts: new Map(state.hosts).set(part.name, ledger) }
  }

  return {
    open() {
      opening ??= load().catch((error) => {
        opening = undefined
        throw error
      })
      return opening
    },
    reserve(url, payee, price) {
      const { host, hostname, href } = url
      if (allowedHosts && !allowedHosts.includes(host) && !allowedHosts.includes(hostname)) {
        throw new HostNotAllowedError({ host, allowedHosts })
      }
      const use = { payee, price, nowMs: clock() }
      const reserved = reserve(state.ledger, ledgerLimits, use)
      if (!reserved.ok) {
        if (reserved.limit === 'disputed') return undefined
        throw new LimitExceededError({ url: href, decimals, ...reserved })
      }
      const parts = partsOf(url).map((part) => {
        const found = reserve(ledgerOf(part), part.limits, use)
        return found.ok ? { part, ...found } : refuse(href, part, found)
      })
      state = { ...state, ledger: reserved.ledger }
      for (const { part, ledger } of parts) put(part, ledger)
      return {
        ...reserved.reservation,
        parts: parts.map(({ part, reservation }) => ({ part, reservation })),
      }
    },
    extend({ href }, { parts, ...reservation }, more) {
      const nowMs = clock()
      const extended = extend(state.ledger, ledgerLimits, { reservation, more, nowMs })
      if (!extended.ok) {
        if (extended.limit === 'disputed') return undefined
        throw new LimitExceededError({ url: href, decimals, ...extended })
      }
      const further = parts.map(({ part, reservation }) => {
        const found = extend(ledgerOf(part), part.limits, { reservation, more, nowMs })
        return found.ok ? { part, ...found } : refuse(href, part, found)
      })
      state = { ...state, ledger: extended.ledger }
      for (const { part, ledger } of further) put(part, ledger)
      return {
        ...extended.reservation,
        parts: further.map(({ part, reservation }) => ({ part, reservation })),
      }
    },
    meet(payee, heldAtomic, claim) {
      state = { ...state, ledger: meet(state.ledger, payee, heldAtomic, claim) }
    },
    giveBack({ parts, ...reservation }, price) {
      state = { ...state, ledger: conclude(state.ledger, { ...reservation, price }, { kind: 'released' }).ledger }
      for (const { part, reservation: own } of parts) {
        put(part, conclude(ledgerOf(part), { ...own, price }, { kind: 'released' }).ledger)
      }
    },
    conclude({ parts, ...reservation }, outcome) {
      const { ledger, ...findings } = conclude(state.ledger, reservation, outcome)
      state = { ...state, ledger }
      for (const { part, reservation: own } of parts) {
        put(part, conclude(ledgerOf(part), own, withoutFigures(outcome, own)).ledger)
      }
      return findings
    },
    saved() {
      if (!store) return Promise.resolve()
      // One write at a time: whoever comes while one is under way shares the next.
      if (!saving) {
        saving = save().finally(() => {
          saving = undefined
        })
        return saving
      }
      savingNext ??= saving
        .catch(() => undefined)
        .then(() => {
          savingNext = undefined
          saving = save().finally(() => {
            saving = undefined
          })
          return saving
        })
      return savingNext
    },
    spent: () => spentOf(state.ledger),
    remaining: () => (budgetLimits.maxTotal === undefined ? undefined : budgetLimits.maxTotal - spentOf(ofBudget)),
  }
}

/** A host or budget counts what was charged, and no payee's figures: more than was signed for is never charged. */
function withoutFigures(outcome: Outcome, { price }: Reservation): Outcome {
  if (outcome.kind !== 'charged') return { kind: outcome.kind }
  return { kind: 'charged', amount: outcome.amount < price ? outcome.amount : price }
}
