import { parseTraceparent, type Tracing } from '@protocolbanks/stream-runtime'
import type { UsageEvent } from '../meter/meter.ts'

/** Makes each recorded request's way from its charge to the journal a span of its trace, whoever journalled it. */
export function traceJournal(tracing: Pick<Tracing, 'start'>): (events: readonly UsageEvent[]) => void {
  return (events) => {
    for (const { eventId, occurredAtMs, record } of events) {
      // Most are not: not read before it is known.
      if (!record.trace?.endsWith('-01')) continue
      const context = parseTraceparent(record.trace)
      if (!context) continue
      const attributes = { 'stream.event.id': eventId }
      tracing.start('journal', { in: context, startTimeMs: occurredAtMs, attributes }).end()
    }
  }
}
