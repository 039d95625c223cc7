import type { IncidentAction, Severity } from '@protocolbanks/stream-db'

/** What was found, so that it can be stored and told. */
export type Judgement = {
  rule: string
  ruleVersion: number
  action: IncidentAction
  severity: Severity
  ruleId: string | null
  inputs: Record<string, string>
  /** For the owner, in one sentence. */
  explanation: string
  /** What is to be held at the gateways and not on the chain, for a while or, null, until somebody lifts it. */
  hold?: { ruleId: string; merchantId: string | null; forMs: number | null; reason: string } | undefined
  /** The version of an own rule that cannot be evaluated, which is told once. */
  failedRule?: { id: string; version: number } | undefined
}
