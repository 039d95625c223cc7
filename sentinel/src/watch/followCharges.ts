import { setTimeout as delay } from 'node:timers/promises'
import type { Charge as JournalCharge } from '@protocolbanks/stream-db'
import type { UsageFeedLine } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { Charge } from './createWatch.ts'
import { fromJournal } from './fromJournal.ts'

export type FollowChargesDeps = {
  feed(signal: AbortSignal): AsyncIterable<UsageFeedLine>
  listChargesBetween(range: {
    from: Date
    until: Date
    after?: { at: Date; eventId: string } | undefined
    limit: number
  }): Promise<JournalCharge[]>
  take(charges: readonly Charge[]): Promise<void>
  /** After a page of the journal, and every few seconds: everything before `journalUntil` was taken. */
  onProgress(journalUntil: Date): Promise<void>
  clock(): number
  logger: Logger
}

/** What was charged so long ago is in the journal, or still waits in the meter and is told by the feed. */
const journalLagMs = 5_000
const sweepMs = 2_000
const pageSize = 2_000

/**
 * Every charge, from `from` on: first what the journal has, then by the feed as it is made, and by the journal again what
 * the feed did not tell in time. Charges come more than once; `take` knows them by their request.
 */
export async function followCharges(deps: FollowChargesDeps, from: Date, signal: AbortSignal): Promise<void> {
  const { clock, logger } = deps
  let until = from
  /** One at a time: the order of charges matters to a score. */
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = (charges: readonly Charge[]) => {
    last = last.catch(() => undefined).then(() => deps.take(charges))
    return last
  }

  async function sweep(): Promise<void> {
    const end = new Date(clock() - journalLagMs)
    if (end <= until) return
    let after: { at: Date; eventId: string } | undefined
    for (;;) {
      const page = await deps.listChargesBetween({ from: until, until: end, after, limit: pageSize })
      await inTurn(page.map(fromJournal))
      const newest = page.at(-1)
      if (signal.aborted || page.length < pageSize || !newest) break
      after = { at: newest.occurredAt, eventId: newest.eventId }
    }
    if (signal.aborted) return
    until = end
    await deps.onProgress(until)
  }

  async function sweepAlways(): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      try {
        await sweep()
        if (failures > 0) logger.info({ failures }, 'the journal is read again')
        failures = 0
      } catch (error) {
        if (failures++ === 0) logger.warn({ err: error }, 'the journal cannot be read; what the feed tells goes on')
      }
      await delay(sweepMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async function readFeed(): Promise<void> {
    for await (const { events } of deps.feed(signal)) {
      if (events.length === 0) continue
      // A charge that could not be taken (Postgres is gone) comes again by the journal.
      await inTurn(events.map(fromFeed)).catch((err: unknown) => logger.warn({ err }, 'charges wait for the journal'))
    }
  }

  await Promise.all([sweepAlways(), readFeed()])
}

function fromFeed({ amountAtomic, client, ...charge }: UsageFeedLine['events'][number]): Charge {
  return { ...charge, amountAtomic: BigInt(amountAtomic), host: client }
}
