import type { IncidentAction, RuleHolder, RuleScope, Severity } from '@protocolbanks/stream-db'
import type { CompiledRule } from '@protocolbanks/stream-rules'

/** A rule that somebody wrote, ready to be applied. */
export type OwnRule = {
  id: string
  version: number
  name: string
  holder: RuleHolder
  /** Of a merchant's rule, in lower case: it sees what goes there, and nothing else. */
  merchantPayee: string | null
  scope: ScopeSets
  action: IncidentAction
  severity: Severity
  blockMs: number | null
  /** Or why it cannot be: it was written for another version of the language. */
  program: CompiledRule | { problem: string }
}

/** Lists of a scope, in lower case; undefined leaves nothing out. */
export type ScopeSets = {
  grantIds: ReadonlySet<string> | undefined
  payees: ReadonlySet<string> | undefined
  services: ReadonlySet<string> | undefined
}

export function toScopeSets({ grantIds, payees, services }: RuleScope): ScopeSets {
  const lower = (list: readonly string[] | undefined) => list && new Set(list.map((one) => one.toLowerCase()))
  return { grantIds: lower(grantIds), payees: lower(payees), services: services && new Set(services) }
}

/** Of a charge, in lower case where addresses and ids are compared. */
export type ChargeNames = { grantId: string; account: string; payee: string; service: string }

/** Whether a rule looks at such a charge at all. */
export function isInScope({ holder, merchantPayee, scope }: OwnRule, charge: ChargeNames): boolean {
  if (holder.account !== null && holder.account.toLowerCase() !== charge.account) return false
  if (holder.merchantId !== null && merchantPayee !== charge.payee) return false
  if (scope.grantIds && !scope.grantIds.has(charge.grantId)) return false
  if (scope.payees && !scope.payees.has(charge.payee)) return false
  return !scope.services || scope.services.has(charge.service)
}
