import type { Incident, SentinelEvent, Stop } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import { explainSentinelEvent, nameActor } from './explainSentinelEvent.ts'

/** Whom it is shown to. `payee`: the merchant's, who is told of nothing that happened elsewhere. */
export type IncidentReader = { audience: 'operator' | 'owner' } | { audience: 'merchant'; payee: Address | undefined }

const done = { alert: 'told of', block: 'refused', freeze: 'stopped', revoke: 'ended' } as const

/**
 * An incident. What a rule compared is about everything that the grant does, at all merchants, so a merchant is not told; of
 * the charge that opened it they are when it was theirs.
 */
export function viewIncident(incident: Incident, reader: IncidentReader) {
  const { id, grantId, account, rule, ruleVersion, action, severity, state } = incident
  const { openedAt, lastFoundAt, acknowledgedAt, closedAt } = incident
  const common = { id, grantId, account, rule, ruleVersion, action, severity, state }
  const moments = { openedAt, lastFoundAt, acknowledgedAt, closedAt }
  if (reader.audience === 'merchant') {
    const isTheirs = incident.payee !== null && incident.payee === reader.payee
    return {
      ...common,
      ruleId: null,
      payee: isTheirs ? incident.payee : null,
      requestId: isTheirs ? incident.requestId : null,
      chargedAt: isTheirs ? incident.chargedAt : null,
      inputs: null,
      explanation: `The grant was ${done[action]} by the rule ${rule}.`,
      findings: null,
      ...moments,
      acknowledgedBy: null,
    }
  }
  const { ruleId, payee, requestId, chargedAt, inputs, explanation, findings, acknowledgedBy } = incident
  const by = reader.audience === 'owner' && acknowledgedBy !== null ? nameActor(acknowledgedBy) : acknowledgedBy
  const told = { ruleId, payee, requestId, chargedAt, inputs, explanation, findings }
  return { ...common, ...told, ...moments, acknowledgedBy: by }
}

/** How far the grant's stop is; null where none was asked for, or another was enough. */
export function viewStop(stop: Stop | undefined) {
  if (!stop) return null
  const { id, kind, refusedAt, chainState, txHash, blockNumber, errorCode } = stop
  return { id, kind, refusedAt, chainState, txHash, blockNumber: blockNumber?.toString() ?? null, errorCode }
}

/** What was seen or done, with the rule's version and what it compared where it was a rule. */
export function viewSentinelEvent(event: SentinelEvent) {
  const { createdAt, kind, rule, detail } = event
  const { ruleVersion = null, inputs = null } = detail
  return { at: createdAt, kind, explanation: explainSentinelEvent(event), rule, ruleVersion, inputs }
}
