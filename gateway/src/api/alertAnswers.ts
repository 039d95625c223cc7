import type { AlertChannel, AlertDelivery, AlertSender } from '@protocolbanks/stream-db'
import { problem } from '../problem.ts'
import { ApiRefusal } from './apiProblem.ts'

// What the routes of alerts show, and how they refuse.

type Bounds = { maxAlertChannels: number; maxVerificationsPerDay: number; maxVerificationsOfHolder: number }

/** Why there is no such channel, or nothing is sent to it. */
export const alertRefusals = {
  many: ({ maxAlertChannels }: Bounds) =>
    new ApiRefusal(409, 'alert.too_many_channels', 'There are as many channels as there may be.', {
      detail: `Channels: ${maxAlertChannels}`,
      hint: 'Delete one that is not needed.',
    }),
  exists: (_: Bounds) =>
    new ApiRefusal(409, 'alert.channel_exists', 'There is a channel to this address already.', {
      hint: 'List the channels. One that nobody confirmed can be asked again: POST its /verification.',
    }),
  asked: ({ maxVerificationsPerDay, maxVerificationsOfHolder }: Bounds) =>
    new ApiRefusal(429, 'alert.verification_limit', 'Addresses were asked too often.', {
      detail: `Messages that ask in 24 hours: ${maxVerificationsPerDay} to one address, whoever wants them; ${maxVerificationsOfHolder} by you.`,
      hint: 'Look for the messages that were sent, or try again tomorrow.',
      headers: { 'retry-after': '3600' },
    }),
  verified: ({ id, state }: AlertChannel) =>
    new ApiRefusal(409, 'alert.channel_verified', 'The channel need not be confirmed.', {
      detail: `Channel: ${id}. State: ${state}.`,
      hint: state === 'disabled' ? 'Make a new channel.' : 'Alerts are sent to it.',
    }),
  notConfigured: (kind: AlertChannel['kind'], sender: AlertSender | undefined) =>
    new ApiRefusal(501, 'alert.not_configured', 'No sentinel of this deployment sends alerts this way.', {
      detail: `Kind: ${kind}. ${sender?.configured ? 'Telegram has not told the name of the bot yet.' : 'It is not set up.'}`,
      hint:
        kind === 'email'
          ? 'The operator has to set SMTP_URL and ALERT_FROM at the sentinel.'
          : 'The operator has to set TELEGRAM_BOT_TOKEN at the sentinel.',
    }),
}

/** @throws ApiRefusal 409: nothing is sent to a channel that nobody confirmed, or that is disabled */
export function assertActive({ id, state, disabledReason }: AlertChannel): void {
  if (state === 'active') return
  throw new ApiRefusal(409, 'alert.channel_inactive', 'Nothing is sent to this channel.', {
    detail: `Channel: ${id}. State: ${state}${disabledReason === null ? '' : `, ${disabledReason}`}.`,
    hint: state === 'unverified' ? 'Confirm it by the link that was sent, or in the chat.' : 'Make a new channel.',
  })
}

export function unknownChannel(id: string): Response {
  return problem(404, 'alert.channel_unknown', 'There is no such channel of alerts.', {
    detail: `Channel: ${id.slice(0, 80)}`,
  })
}

export function viewChannel(channel: AlertChannel) {
  const { target, disabledReason, disabledDetail, disabledAt, ...shown } = channel
  const disabled = disabledReason && { reason: disabledReason, detail: disabledDetail, at: disabledAt }
  return { ...shown, address: target, disabled }
}

/** Without who has it in hand. */
export function viewAlertDelivery(delivery: AlertDelivery) {
  const { id, channelId, incidentId, kind, number, state, attempts, nextAttemptAt, lastError, createdAt, endedAt } =
    delivery
  return { id, channelId, incidentId, kind, number, state, attempts, nextAttemptAt, lastError, createdAt, endedAt }
}
