import {
  type AlertChannel,
  type AlertDelivery,
  type AlertFacts,
  type AlertLinkPurpose,
  type Db,
  putAlertLink,
  readAlertFacts,
} from '@protocolbanks/stream-db'
import type { AlertAudience, AlertText } from './alertText.ts'
import type { AlertTokens } from './alertTokens.ts'
import { composeAlert } from './composeAlert.ts'
import { composeChannelMessage } from './composeChannelMessage.ts'

export type WriteMessageDeps = {
  db: Db
  tokens: AlertTokens
  /** Of the token that grants are in. */
  decimals: number
  now(): Date
}

const linkMs = { verify: 86_400_000, incident: 7 * 86_400_000 }

/** Says what a message has to say now, with its links. Undefined: it has nothing to say any more. */
export async function writeMessage(
  deps: WriteMessageDeps,
  { delivery, channel }: { delivery: AlertDelivery; channel: AlertChannel },
): Promise<AlertText | undefined> {
  const { db, tokens, decimals, now } = deps
  const { kind, incidentId, number } = delivery
  const { merchantId } = channel
  if (kind === 'verify' || kind === 'verified' || kind === 'test') {
    const url = kind === 'verify' ? await link('verify', linkMs.verify) : undefined
    return composeChannelMessage(kind, channel, url)
  }
  const facts =
    incidentId &&
    (await readAlertFacts(db, { incidentId, merchantId, stopNumber: kind === 'stopped' ? number : undefined }))
  if (!facts) return undefined
  const { state } = facts.incident
  // A reminder that is late, and news of it that is older than what came after.
  if (kind === 'repeated' && state !== 'open') return undefined
  if (kind === 'acknowledged' && state === 'closed') return undefined
  const audience = audienceOf(channel)
  const urls: Partial<Record<AlertLinkPurpose, string>> = {}
  if (state === 'open') urls.acknowledge = await link('acknowledge', linkMs.incident)
  const offered = linksToDecide(facts)
  if (audience === 'owner' && offered.includes('confirm')) urls.confirm = await link('confirm', linkMs.incident)
  if (audience === 'owner' && offered.includes('reject')) urls.reject = await link('reject', linkMs.incident)
  return composeAlert({ kind, number, audience, facts, urls, decimals })

  async function link(purpose: AlertLinkPurpose, validMs: number): Promise<string> {
    const token = tokens.tokenOf(delivery.id, purpose)
    const expiresAt = new Date(now().getTime() + validMs)
    const of = { channelId: channel.id, deliveryId: delivery.id, incidentId, purpose, token, expiresAt, now: now() }
    await putAlertLink(db, of)
    return tokens.urlOf(token)
  }
}

/** What an owner can decide about: a merchant's own refusals are the merchant's, and what stopped nothing needs no confirmation. */
function linksToDecide({ incident, decisions, ruleMerchantId }: AlertFacts): ('confirm' | 'reject')[] {
  if (incident.state === 'closed' || decisions.length > 0 || ruleMerchantId !== null) return []
  return incident.action === 'freeze' || incident.action === 'revoke' ? ['confirm', 'reject'] : ['reject']
}

function audienceOf({ account, merchantId }: AlertChannel): AlertAudience {
  if (account) return 'owner'
  return merchantId ? 'merchant' : 'operator'
}
