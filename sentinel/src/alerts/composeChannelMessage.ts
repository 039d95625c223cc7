import type { AlertChannel } from '@protocolbanks/stream-db'
import type { AlertText } from './alertText.ts'

/** A message about a channel itself: to ask an address, to say that it is one now, or to try it out. Deterministic. */
export function composeChannelMessage(
  kind: 'verify' | 'verified' | 'test',
  channel: AlertChannel,
  verifyUrl: string | undefined,
): AlertText {
  const footer = `Protocol Banks Stream, channel ${channel.id}.`
  const whose = whoseOf(channel)
  const facts: [string, string][] = [
    ['Alerts of', whose],
    ['From severity', channel.leastSeverity],
  ]
  switch (kind) {
    case 'verify':
      return {
        subject: 'Do you want alerts of Protocol Banks Stream here?',
        paragraphs: [
          'Somebody asked for alerts of the sentinel to be sent to this address.',
          'If that was you, open the link and confirm it. If it was not, do nothing: nothing else is sent here.',
        ],
        facts,
        links: verifyUrl === undefined ? [] : [{ label: 'Send alerts to this address', url: verifyUrl }],
        footer,
      }
    case 'verified':
      return {
        subject: 'Alerts are sent here from now on',
        paragraphs: ['You are told here when the sentinel finds something or stops an agent, and what became of it.'],
        facts,
        links: [],
        footer,
      }
    case 'test':
      return {
        subject: 'Test: alerts arrive here',
        paragraphs: ['This is a test that somebody asked for. Nothing has happened.'],
        facts,
        links: [],
        footer,
      }
  }
}

function whoseOf({ account, merchantId }: AlertChannel): string {
  if (account) return `account ${account}`
  return merchantId ? `merchant ${merchantId}` : 'every account, for the operator'
}
