import type { Address, Hex } from '@protocolbanks/stream-protocol'

/** What a rule would have done. Amounts in base units, moments in ISO 8601. */
export type DryRunResult = {
  /** Charges of the time and the scope that were judged, and those for which the rule was true. */
  charges: number
  matched: number
  /** Charges that were not judged because the rule asks for what is not known of the past. */
  unknown: number
  /** Charges for which it could not be evaluated, and why, the first time. */
  failed: number
  firstFailure: string | null
  /** Matched, and not stopped: an allow list spares them. */
  spared: number
  /** Of how many grants there were charges, and how many would have been stopped. */
  grants: number
  stoppedGrants: number
  /** Calls and money that would not have been charged. */
  stoppedCalls: number
  stoppedAtomic: string
  /** The first of them, in the order of time. */
  stops: DryRunStop[]
  /** The first charges that matched, with what the rule read. */
  examples: DryRunExample[]
  /** Null when it went to the end; otherwise up to when it went, and why not further. */
  cutShort: { at: string; reason: 'charges' | 'time' | 'grants' } | null
  /** From when on charges were read to know what came before. */
  learnedFrom: string
}

export type DryRunStop = {
  grantId: Hex
  /** Null: the whole grant. Otherwise what goes to this payee. */
  payee: Address | null
  at: string
  requestId: string
  /** Of a block. */
  until: string | null
  /** What came after it, and would not have been charged. */
  callsAfter: number
  atomicAfter: string
}

export type DryRunExample = {
  grantId: Hex
  payee: Address
  service: string
  requestId: string
  at: string
  amountAtomic: string
  values: Record<string, string>
}
