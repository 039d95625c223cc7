import { setTimeout as delay } from 'node:timers/promises'
import { describeFault } from './describeFault.ts'
import { type Fault, type Part, processes } from './fault.ts'
import { applyFault } from './faults/applyFault.ts'
import { untilReady } from './faults/untilReady.ts'
import { makesRedisForget, partsOf, stopsSettlement } from './partsOf.ts'
import type { Traffic } from './startTraffic.ts'
import type { SettlementWatch } from './watchSettlements.ts'
import type { World } from './world.ts'

/** What came of one fault. */
export type FaultResult = {
  fault: Fault
  /** Since the first fault was begun. */
  atSeconds: number
  /** From the end of the fault until all is well again; null: not within two minutes. */
  recoverySeconds: number | null
  /** Why it could not be made to happen, or what did not recover. */
  problem: string | undefined
}

export type RunScheduleDeps = {
  world: World
  traffic: Traffic
  settlements: SettlementWatch
  log(line: string): void
}

/** Faults that are not recovered from yet, at most. */
const maxOpen = 4
/** How far a fault may overtake others whose parts are still taken. */
const lookAhead = 12
const recoverMs = 240_000
/** In which every gateway notices that Redis forgot, and writes down what only it knows: until then none may die. */
const noticeMs = 4_000

/** Makes all of it go wrong, several things at once, but never two on the same part. */
export async function runSchedule(schedule: readonly Fault[], deps: RunScheduleDeps): Promise<FaultResult[]> {
  const startedAt = performance.now()
  const results: FaultResult[] = []
  const taken = new Set<Part>()
  const open = new Set<Promise<void>>()
  const queue = [...schedule]

  async function run(fault: Fault): Promise<void> {
    const at = (performance.now() - startedAt) / 1_000
    const result = await runFault(fault, deps)
    results.push({ fault, atSeconds: round(at), ...result })
    const came = result.problem ?? `recovered in ${result.recoverySeconds} s`
    deps.log(
      `${results.length}/${schedule.length} #${fault.index} at ${at.toFixed(0)} s: ${describeFault(fault)}: ${came}`,
    )
  }

  while (queue.length > 0) {
    const next = queue.slice(0, lookAhead).findIndex((fault) => partsOf(fault).every((part) => !taken.has(part)))
    if (next < 0 || open.size >= maxOpen) {
      await Promise.race(open)
      continue
    }
    for (const fault of queue.splice(next, 1)) {
      await delay(fault.pauseMs)
      const parts = partsOf(fault)
      for (const part of parts) taken.add(part)
      const running = run(fault).finally(async () => {
        if (makesRedisForget(fault)) await delay(noticeMs)
        for (const part of parts) taken.delete(part)
        open.delete(running)
      })
      open.add(running)
    }
  }
  await Promise.all(open)
  return results.toSorted((left, right) => left.fault.index - right.fault.index)
}

async function runFault(
  fault: Fault,
  { world, traffic, settlements }: RunScheduleDeps,
): Promise<Pick<FaultResult, 'recoverySeconds' | 'problem'>> {
  try {
    await applyFault(world, traffic, fault)
  } catch (error) {
    return { recoverySeconds: null, problem: `did not happen: ${error}` }
  }
  const endedAt = performance.now()
  const touched = processes.filter((name) => partsOf(fault).includes(name))
  try {
    await Promise.all([
      traffic.untilServed(recoverMs),
      ...touched.map((name) => untilReady(world, name, recoverMs)),
      stopsSettlement(fault) ? settlements.untilConfirmed(recoverMs) : undefined,
    ])
    return { recoverySeconds: round((performance.now() - endedAt) / 1_000), problem: undefined }
  } catch (error) {
    return { recoverySeconds: null, problem: `did not recover: ${error}` }
  }
}

function round(seconds: number): number {
  return Math.round(seconds * 100) / 100
}
