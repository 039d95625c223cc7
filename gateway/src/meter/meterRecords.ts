import type { MeterGeneration } from '@protocolbanks/stream-db'
import type { MalformedUsage, UsageEvent } from './meter.ts'

/**
 * What Postgres keeps of the meter, so that the store of the meter may lose everything. Made by `createMeterRecords`.
 * Every call throws when Postgres does not answer, and may be repeated.
 */
export type MeterRecords = {
  /** This process lives; per partition the generation before which all its charges are journalled. Answers all generations. */
  beat(acknowledged: readonly number[]): Promise<MeterGeneration[]>
  /** Ends a generation; nothing when somebody else has. */
  close(partition: number, generation: number, reason: string): Promise<void>
  /** False while a process that lives has not acknowledged it. */
  open(partition: number, generation: number, storeRun: string): Promise<boolean>
  /** Which of these processes live. */
  living(instances: readonly string[]): Promise<Set<string>>
  /** Which of these events are in the journal. */
  find(events: readonly UsageEvent[]): Promise<Set<string>>
  /** Appends them to the journal or puts them aside. Answers how many were new in the journal. */
  append(partition: number, events: readonly UsageEvent[], malformed?: readonly MalformedUsage[]): Promise<number>
  /** The process ends, and nothing of it is only in its memory. */
  leave(): Promise<void>
}
