import type { AlertFacts, AlertLinkPurpose, AlertLinkUse, FoundAlertLink } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import type { AlertPage } from './alertLinkPage.ts'

// What the pages of links say.

const questions = {
  verify: ['Send alerts to this address?', 'Send alerts to this address'],
  acknowledge: ['Have you seen this?', 'I have seen it'],
  confirm: ['Was this you?', 'This was me: let it go on'],
  reject: ['Stop it for good?', 'Stop it for good'],
} as const satisfies Record<AlertLinkPurpose, readonly [title: string, button: string]>

const explanations = {
  verify:
    'You are told here when the sentinel finds something or stops an agent. Nothing is sent here before you agree.',
  acknowledge: 'There will be no more reminders of it. Nothing that was stopped goes on.',
  confirm:
    'You say that these calls were yours. The agent may go on; where the chain has it frozen, your account unfreezes it.',
  reject:
    'The agent stays stopped, and its grant is ended for good. That cannot be taken back; a new grant can be made.',
} as const satisfies Record<AlertLinkPurpose, string>

/** Asks, with what a merchant may not see left out. */
export function questionPage(
  { link, channel }: FoundAlertLink,
  facts: AlertFacts | undefined,
  decimals: number,
): AlertPage {
  const [title, button] = questions[link.purpose]
  if (!facts)
    return { title, button, paragraphs: [explanations[link.purpose]], facts: [['Address', channel.target ?? '']] }
  const { incident, sessionKey, owed } = facts
  const isMerchant = channel.merchantId !== null
  const what =
    isMerchant && facts.ruleMerchantId === null ? 'The sentinel stopped a grant that pays you.' : incident.explanation
  const shown: [string, string][] = [
    ['Agent', `session key ${sessionKey}`],
    ['Grant', incident.grantId],
  ]
  if (!isMerchant)
    shown.push(['Account', incident.account], ['Rule', `${incident.rule}, version ${incident.ruleVersion}`])
  shown.push(['Since', incident.openedAt.toISOString()], ['State', incident.state])
  shown.push([isMerchant ? 'Owed to you and not settled' : 'Owed and not settled', formatAmount(owed, decimals)])
  return { title, button, paragraphs: [what, explanations[link.purpose]], facts: shown }
}

type Done = Extract<AlertLinkUse, { state: 'done' }>

export function outcomePage({ link, outcome }: Done): AlertPage {
  const [title, text] = answerOf(link.purpose, outcome)
  return { title, paragraphs: [text, 'You can close this page.'] }
}

function answerOf(purpose: AlertLinkPurpose, outcome: Done['outcome']): [title: string, text: string] {
  if (purpose === 'verify') {
    if (outcome === true) return ['Alerts are sent to this address', 'You get a message that says so.']
    return ['Nothing was changed', 'The address was confirmed before, or another channel has it.']
  }
  if (purpose === 'acknowledge') {
    if (outcome === true) return ['Noted', 'There will be no more reminders of this incident.']
    return ['Nothing was changed', 'Somebody had seen it before, or it is closed.']
  }
  switch (outcome) {
    case 'recorded':
      return purpose === 'confirm'
        ? ['Noted: it was you', 'The agent may go on. Where the chain has it frozen, your account has to unfreeze it.']
        : ['Noted: it stays stopped', 'The grant is being ended for good.']
    case 'repeated':
      return ['Nothing was changed', 'The same was decided before.']
    case 'rejected':
      return ['Nothing was changed', 'It was stopped for good before, which is not taken back. Make a new grant.']
    case 'closed':
      return ['Nothing was changed', 'The incident is closed.']
    default:
      return ['Nothing was changed', 'This channel does not decide about this incident.']
  }
}

export function endedPage(use: Exclude<AlertLinkUse, { state: 'done' }>): AlertPage {
  const nothing = 'Nothing was changed.'
  switch (use.state) {
    case 'used':
      return { title: 'This link was used', paragraphs: ['It works once, and it was used before.', nothing] }
    case 'expired':
      return { title: 'This link has expired', paragraphs: ['Use the link of a newer message.', nothing] }
    case 'unknown':
      return {
        title: 'This link is not known',
        paragraphs: ['Open it as it is in the message. If its channel was deleted, it does nothing any more.', nothing],
      }
  }
}
