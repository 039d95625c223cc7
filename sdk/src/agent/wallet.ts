import type { Address } from '@protocolbanks/stream-protocol'
import { type AgentState, type AgentStore, readState, writeState } from './agentStore.ts'
import { HostNotAllowedError, LimitExceededError } from './errors.ts'
import type { AgentGrant } from './grant.ts'
import {
  conclude,
  type Discrepancy,
  type Dispute,
  emptyLedger,
  type LedgerLimits,
  type Outcome,
  type Reservation,
  reserve,
  spentOf,
} from './ledger.ts'
import { type AgentLimits, toHostLimits, toLedgerLimits } from './limits.ts'

/** Room for one call, in the grant's ledger and in its host's. */
export type WalletHold = Reservation & { host: { name: string; reservation: Reservation } | undefined }

/** What one agent has spent and promised under a grant, and what its limits leave. */
export type Wallet = {
  /** Reads the store, once. Nothing may be reserved before. @throws StoredStateError, what the store throws */
  open(): Promise<void>
  /** @throws HostNotAllowedError, LimitExceededError; undefined: a dispute closed the payee */
  reserve(url: URL, payee: Address, price: bigint): WalletHold | undefined
  conclude(hold: WalletHold, outcome: Outcome): { dispute?: Dispute; discrepancy?: Discrepancy }
  /** Resolves when everything reserved so far is in the store. */
  saved(): Promise<void>
  /** Charged, and in flight, at all payees; base units. */
  spent(): bigint
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
  const hostLimits = new Map<string, LedgerLimits>()
  for (const [host, own] of Object.entries(limits.perHost ?? {})) hostLimits.set(host, toHostLimits(own, decimals))

  let state: AgentState = { ledger: emptyLedger, hosts: new Map() }
  let opening: Promise<void> | undefined
  let saving: Promise<void> | undefined
  let savingNext: Promise<void> | undefined

  async function load(): Promise<void> {
    if (store) state = readState(await store.load(grant.grantId))
  }

  function save(): Promise<void> {
    return store ? store.save(grant.grantId, writeState(state)) : Promise.resolve()
  }

  return {
    open() {
      opening ??= load().catch((error) => {
        opening = undefined
        throw error
      })
      return opening
    },
    reserve({ host, hostname, href }, payee, price) {
      if (allowedHosts && !allowedHosts.includes(host) && !allowedHosts.includes(hostname)) {
        throw new HostNotAllowedError({ host, allowedHosts })
      }
      const use = { payee, price, nowMs: clock() }
      const reserved = reserve(state.ledger, ledgerLimits, use)
      if (!reserved.ok) {
        if (reserved.limit === 'disputed') return undefined
        throw new LimitExceededError({ url: href, decimals, ...reserved })
      }
      const name = [host, hostname].find((one) => hostLimits.has(one))
      if (name === undefined) {
        state = { ...state, ledger: reserved.ledger }
        return { ...reserved.reservation, host: undefined }
      }
      const atHost = reserve(state.hosts.get(name) ?? emptyLedger, hostLimits.get(name) ?? {}, use)
      // A host's ledger is told no figures of the payee, so it disputes none.
      if (!atHost.ok) {
        if (atHost.limit === 'disputed') return undefined
        throw new LimitExceededError({ url: href, decimals, host: name, ...atHost })
      }
      state = { ledger: reserved.ledger, hosts: new Map(state.hosts).set(name, atHost.ledger) }
      return { ...reserved.reservation, host: { name, reservation: atHost.reservation } }
    },
    conclude({ host, ...reservation }, outcome) {
      const { ledger, ...findings } = conclude(state.ledger, reservation, outcome)
      let { hosts } = state
      if (host) {
        // What a host was charged counts by the price: at most that was signed for.
        const kind = outcome.kind === 'released' ? 'released' : 'unknown'
        const spent = conclude(hosts.get(host.name) ?? emptyLedger, host.reservation, { kind })
        hosts = new Map(hosts).set(host.name, spent.ledger)
      }
      state = { ledger, hosts }
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
  }
}
