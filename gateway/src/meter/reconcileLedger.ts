import type { Logger } from 'pino'
import type { Ledger, LedgerEntry } from './ledger.ts'
import type { UsageEvent } from './meter.ts'
import type { MeterRecords } from './meterRecords.ts'

export type ReconcileLedgerDeps = {
  ledger: Ledger
  records: Pick<MeterRecords, 'find' | 'append'>
  /** The generation of a partition when it is open. */
  current(partition: number): number | undefined
  /** Which of these events of one partition are in the store's stream. */
  inStream(partition: number, events: readonly UsageEvent[]): Promise<Set<string>>
  nowMs: number
  logger: Logger
  onRecovered(count: number): void
}

/** Not asked about before: the journal is usually faster. */
const minAgeMs = 2_000
const askEveryMs = 1_000
const maxPerRound = 5_000
/** Neither journalled nor waiting for it after this long: the store has lost it alone. */
const graceMs = 5_000
const maxSearched = 1_000

/**
 * Drops from the ledger what the journal has by now, and brings back what it never got: a charge that is neither in the
 * journal nor in the store's stream, although the store forgot nothing else, goes to the journal from here.
 */
export async function reconcileLedger(deps: ReconcileLedgerDeps): Promise<void> {
  const { ledger, records, nowMs, logger } = deps
  const due = ledger.due({ nowMs, minAgeMs, askedBeforeMs: nowMs - askEveryMs, limit: maxPerRound })
  if (due.length === 0) return
  const journalled = await records.find(due.map(({ event }) => event))
  ledger.forget(journalled)
  const suspects = due.filter(
    (entry) => !journalled.has(entry.event.eventId) && entry.state !== 'open' && nowMs - entry.atMs >= graceMs,
  )
  for (const [partition, entries] of byPartition(suspects.slice(0, maxSearched))) {
    const generation = deps.current(partition)
    const own = entries.filter((entry) => entry.generation === generation)
    if (own.length === 0) continue
    const waiting = await deps.inStream(partition, own.map(eventOf))
    const gone = own.filter(({ event }) => !waiting.has(event.eventId))
    // Journalled and acknowledged between the two questions?
    const since = await records.find(gone.map(eventOf))
    ledger.forget(since)
    // What is going on with the store is decided elsewhere.
    if (deps.current(partition) !== generation) continue
    const missing = gone.filter(({ event }) => !since.has(event.eventId) && ledger.get(event.eventId) === event)
    // A capture whose answer was lost took it out: it was released after all.
    ledger.forget(missing.filter(({ state }) => state === 'doubtful').map(idOf))
    const lost = missing.filter(({ state }) => state === 'stands')
    if (lost.length === 0) continue
    const appended = await records.append(partition, lost.map(eventOf))
    ledger.forget(lost.map(idOf))
    if (appended > 0) {
      deps.onRecovered(appended)
      logger.warn(
        { partition, charges: appended, first: lost[0]?.event.eventId },
        'charges that the store had lost were journalled',
      )
    }
  }
}

function byPartition(entries: readonly LedgerEntry[]): Map<number, LedgerEntry[]> {
  const map = new Map<number, LedgerEntry[]>()
  for (const entry of entries) map.set(entry.partition, [...(map.get(entry.partition) ?? []), entry])
  return map
}

const eventOf = ({ event }: LedgerEntry) => event
const idOf = ({ event }: LedgerEntry) => event.eventId
