import type { AlertDelivery, AlertFacts, AlertLinkPurpose } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import type { AlertAudience, AlertText } from './alertText.ts'
import { tellStop, tellVouchers } from './tellStop.ts'

export type AlertToCompose = {
  kind: Exclude<AlertDelivery['kind'], 'verify' | 'verified' | 'test'>
  /** Of reminders; 0 is the first. */
  number: number
  audience: AlertAudience
  facts: AlertFacts
  /** Where each link leads. */
  urls: Partial<Record<AlertLinkPurpose, string>>
  /** Of the token. */
  decimals: number
}

/**
 * A message about an incident, in plain words. A merchant is told that a grant which pays them was stopped and what is owed
 * to them: what the owner spends elsewhere, and what was found, stays with the owner and the operator. Deterministic.
 */
export function composeAlert(alert: AlertToCompose): AlertText {
  const { audience, facts } = alert
  const { incident, sessionKey } = facts
  return {
    subject: `${headlineOf(alert)} (agent ${short(sessionKey)})`,
    paragraphs: [...openingOf(alert), tellStop(facts, audience), tellVouchers(facts), adviceOf(alert)].filter(
      (text) => text !== '',
    ),
    facts: factsOf(alert),
    links: linksOf(alert),
    footer: `Incident ${incident.id}. You are told because you are ${whoOf[audience]}.`,
  }
}

const whoOf = {
  owner: 'the owner of the account',
  merchant: 'paid by this grant',
  operator: 'the operator',
} as const satisfies Record<AlertAudience, string>

const actionOf = {
  alert: 'Your attention is asked for',
  block: 'An agent is refused for a while',
  freeze: 'An agent was stopped',
  revoke: 'An agent was stopped for good',
} as const satisfies Record<AlertFacts['incident']['action'], string>

function headlineOf({ kind, number, facts }: AlertToCompose): string {
  const { action } = facts.incident
  switch (kind) {
    case 'opened':
      return actionOf[action]
    case 'repeated':
      return `Reminder ${number + 1}: ${lowerFirst(actionOf[action])}`
    case 'acknowledged':
      return 'Acknowledged'
    case 'stopped':
      return facts.stop?.chainState === 'impossible'
        ? 'The chain cannot stop the agent'
        : 'The chain has stopped the agent'
    case 'closed':
      return 'Closed'
  }
}

function openingOf({ kind, audience, facts }: AlertToCompose): string[] {
  const { incident } = facts
  const what = mayKnow(facts, audience) ? incident.explanation : 'The sentinel stopped a grant that pays you.'
  const by = incident.acknowledgedBy?.startsWith('owner:') ? 'The owner' : 'The operator'
  if (kind === 'acknowledged') return [`${by} has seen it. There will be no more reminders.`, what]
  if (kind === 'closed') return ['The incident is closed. If the same is found again, that is another one.', what]
  if (kind === 'repeated') return ['This incident is open, and nobody has acknowledged it yet.', what]
  return [what]
}

function adviceOf({ kind, audience, facts }: AlertToCompose): string {
  const { action, state } = facts.incident
  const [decision] = facts.decisions.toReversed()
  if (decision?.decision === 'reject') return 'The owner decided that it stays stopped for good.'
  if (decision) return 'The owner decided that it may go on.'
  if (kind === 'closed' || state === 'closed') return ''
  if (audience === 'merchant') {
    if (facts.ruleMerchantId !== null) return 'Your own rule found it. What it refuses, it refuses for you alone.'
    if (action === 'block') return 'Calls of this agent are refused until the time is over. You need not do anything.'
    return 'Calls of this agent are refused. A frozen grant pays again when its owner lets it go on; a revoked one pays nothing more.'
  }
  if (audience === 'operator') return 'Only the owner lets it go on. Look at it, and acknowledge it.'
  if (facts.ruleMerchantId !== null) return 'Talk to the merchant if these calls are what you want.'
  if (action === 'alert')
    return 'Nothing was stopped. If you did not expect this, freeze the grant, or stop it for good.'
  return 'If this was you or your agent, let it go on. If you do not know these calls, stop it for good: its key may be stolen.'
}

function factsOf({ audience, facts, decimals }: AlertToCompose): [string, string][] {
  const { incident, sessionKey, token, owed, atRisk } = facts
  const money = (amount: bigint) => formatAmount(amount, decimals)
  const shown: [string, string][] = [
    ['Agent', `session key ${sessionKey}`],
    ['Grant', incident.grantId],
  ]
  if (audience === 'merchant') {
    return [
      ...shown,
      ...(facts.ruleMerchantId === null ? [] : [['Rule', ruleOf(incident)] as [string, string]]),
      ['Since', timeOf(incident.openedAt)],
      ['Owed to you and not settled', money(owed)],
      ['Token', token],
    ]
  }
  shown.push(['Account', incident.account])
  shown.push(['Rule', ruleOf(incident)], ['Severity', incident.severity])
  if (incident.chargedAt) shown.push(['Call', timeOf(incident.chargedAt)])
  if (incident.findings > 1) shown.push(['Found', `${incident.findings} times, last ${timeOf(incident.lastFoundAt)}`])
  shown.push(['Owed and not settled', money(owed)])
  if (atRisk !== undefined) shown.push(['It could still have spent', money(atRisk)])
  return [...shown, ['Token', token]]
}

/** What was found is the owner's and the operator's to know; of a merchant's own rule it is the merchant's. */
function mayKnow({ ruleMerchantId }: AlertFacts, audience: AlertAudience): boolean {
  return audience !== 'merchant' || ruleMerchantId !== null
}

function ruleOf({ rule, ruleVersion }: AlertFacts['incident']): string {
  return `${rule}, version ${ruleVersion}`
}

function linksOf({ audience, facts, urls }: AlertToCompose): { label: string; url: string }[] {
  if (facts.incident.state === 'closed') return []
  const isDecided = facts.decisions.length > 0
  const links: { label: string; url: string }[] = []
  const add = (label: string, url: string | undefined) => url !== undefined && links.push({ label, url })
  if (facts.incident.state === 'open') add('Look at it, and acknowledge', urls.acknowledge)
  if (audience === 'owner' && !isDecided) {
    add('This was me: let it go on', urls.confirm)
    add('Stop it for good', urls.reject)
  }
  return links
}

function short(address: string): string {
  return `${address.slice(0, 6)}…${address.slice(-4)}`
}

function timeOf(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
