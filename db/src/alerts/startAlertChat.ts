import { and, eq, ne } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { AlertChannel } from './alert.ts'
import { disableAlertChannel } from './deliveries.ts'
import { findAlertLink, takeAlertLink } from './links.ts'
import { alertChannelTable } from './table.ts'
import { activateAlertChannel } from './useAlertLink.ts'

/** taken: the holder has a channel to this chat already. */
export type AlertChatStart = 'started' | 'taken' | 'used' | 'expired' | 'unknown'

/** A chat that sent the token of a channel to the bot becomes that channel. The token is good once. */
export function startAlertChat(
  db: Queryable,
  { token, chatId, now }: { token: string; chatId: string; now: Date },
): Promise<AlertChatStart> {
  return db.transaction(async (tx) => {
    const found = await findAlertLink(tx, { token, purposes: ['verify'], now })
    if (found?.channel.kind !== 'telegram') return 'unknown'
    if (found.state !== 'open') return found.state
    if (!(await takeAlertLink(tx, { id: found.link.id, now }))) return 'used'
    return (await activateAlertChannel(tx, { id: found.channel.id, target: chatId, now })) ? 'started' : 'taken'
  })
}

/** The chat wants no more, or cannot be written to: all channels of it end. Says how many. */
export async function stopAlertChat(
  db: Queryable,
  { chatId, reason, now }: { chatId: string; reason: 'stopped' | 'blocked'; now: Date },
): Promise<number> {
  const channels: Pick<AlertChannel, 'id'>[] = await db
    .select({ id: alertChannelTable.id })
    .from(alertChannelTable)
    .where(
      and(
        eq(alertChannelTable.kind, 'telegram'),
        eq(alertChannelTable.target, chatId),
        ne(alertChannelTable.state, 'disabled'),
      ),
    )
  let ended = 0
  for (const { id } of channels) if (await disableAlertChannel(db, { id, reason, detail: null, now })) ended++
  return ended
}
