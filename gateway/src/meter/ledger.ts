import type { UsageEvent } from './meter.ts'

/**
 * What this process charged and Postgres does not have yet: the second copy of every charge, so that the store may lose its
 * memory. Pure bookkeeping: it asks nobody and knows no clock.
 */
export type Ledger = {
  readonly size: number
  /** No more fit: nothing may be charged until some are journalled. */
  readonly isFull: boolean
  /** `use`: what stands in the store beside amounts and signature, to know it again without reading it. */
  add(event: UsageEvent, p: { partition: number; generation: number; atMs: number; use?: string | undefined }): void
  get(eventId: string): UsageEvent | undefined
  /** The charge whose entry in the store says exactly this. */
  match(
    eventId: string,
    entry: { amount: string; cumulative: string; signature: string; use: string },
  ): UsageEvent | undefined
  /** The request has an outcome: the charge stands. A doubt stays one. */
  settle(eventId: string): void
  /** A capture was sent and its answer lost: whether the charge stands only the store knows, while it remembers. */
  doubt(eventId: string): void
  /** The charge was captured: `captured` stands in its place, or nothing when it was released. */
  capture(eventId: string, captured: UsageEvent | undefined): void
  /** These are in the journal, or were put aside. */
  forget(eventIds: Iterable<string>): void
  /** Up to `limit` that are at least `minAgeMs` old and were not asked about since `askedBeforeMs`, oldest first. */
  due(p: { nowMs: number; minAgeMs: number; askedBeforeMs: number; limit: number }): LedgerEntry[]
  /** All of a partition that were charged before this generation, oldest first. */
  before(partition: number, generation: number): LedgerEntry[]
}

export type LedgerEntry = Readonly<{
  event: UsageEvent
  partition: number
  generation: number
  atMs: number
  state: LedgerState
}>

/** `open`: its request has no outcome yet. */
export type LedgerState = 'open' | 'stands' | 'doubtful'

type Kept = {
  event: UsageEvent
  partition: number
  generation: number
  atMs: number
  state: LedgerState
  askedMs: number
  use?: string | undefined
}

export function createLedger(maxEvents: number): Ledger {
  // In the order of charging.
  const entries = new Map<string, Kept>()

  return {
    get size() {
      return entries.size
    },
    get isFull() {
      return entries.size >= maxEvents
    },
    add(event, at) {
      entries.set(event.eventId, { event, ...at, state: 'open', askedMs: at.atMs })
    },
    get: (eventId) => entries.get(eventId)?.event,
    match(eventId, { amount, cumulative, signature, use }) {
      const { event, use: written } = entries.get(eventId) ?? {}
      if (event === undefined || written === undefined || written !== use || event.record.signature !== signature)
        return undefined
      return String(event.amount) === amount && String(event.cumulativeAmount) === cumulative ? event : undefined
    },
    settle(eventId) {
      const entry = entries.get(eventId)
      if (entry?.state === 'open') entry.state = 'stands'
    },
    doubt(eventId) {
      const entry = entries.get(eventId)
      if (entry) entry.state = 'doubtful'
    },
    capture(eventId, captured) {
      const entry = entries.get(eventId)
      entries.delete(eventId)
      if (entry && captured) entries.set(captured.eventId, { ...entry, event: captured, state: 'stands' })
    },
    forget(eventIds) {
      for (const eventId of eventIds) entries.delete(eventId)
    },
    due({ nowMs, minAgeMs, askedBeforeMs, limit }) {
      const due: LedgerEntry[] = []
      for (const entry of entries.values()) {
        if (due.length >= limit) break
        if (nowMs - entry.atMs < minAgeMs || (entry.askedMs > askedBeforeMs && entry.askedMs !== entry.atMs)) continue
        entry.askedMs = nowMs
        due.push(entry)
      }
      return due
    },
    before(partition, generation) {
      return [...entries.values()].filter((entry) => entry.partition === partition && entry.generation < generation)
    },
  }
}
