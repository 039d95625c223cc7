import {
  beatMeterProcess,
  closeMeterGeneration,
  type Db,
  findJournalled,
  listLivingProcesses,
  openMeterGeneration,
  removeMeterProcess,
} from '@protocolbanks/stream-db'
import type { UsageEvent } from '../meter/meter.ts'
import type { MeterRecords } from '../meter/meterRecords.ts'
import type { Journal } from './createJournal.ts'

/** Events of one transaction. */
const batchSize = 500

export function createMeterRecords({
  db,
  journal,
  instance,
}: {
  /** With connections of its own: signs of life must not wait for anything. */
  db: Db
  journal: Journal
  instance: string
}): MeterRecords {
  return {
    beat: (acknowledged) => beatMeterProcess(db, { instance, acknowledged }),
    async close(partition, generation, reason) {
      await closeMeterGeneration(db, { partition, generation, reason })
    },
    open: (partition, generation, storeRun) => openMeterGeneration(db, { partition, generation, storeRun }),
    living: (instances) => listLivingProcesses(db, instances),
    async find(events) {
      const found = new Set<string>()
      for (const batch of batchesOf(events)) for (const id of await findJournalled(db, batch)) found.add(id)
      return found
    },
    async append(partition, events, malformed = []) {
      let appended = 0
      const batches = batchesOf(events)
      for (const [index, batch] of (batches.length > 0 ? batches : [[]]).entries()) {
        const recorded = await journal.record(partition, batch, index === 0 ? malformed : [])
        appended += recorded.appended
      }
      return appended
    },
    leave: () => removeMeterProcess(db, instance),
  }
}

function batchesOf(events: readonly UsageEvent[]): UsageEvent[][] {
  const batches: UsageEvent[][] = []
  for (let start = 0; start < events.length; start += batchSize) batches.push(events.slice(start, start + batchSize))
  return batches
}
