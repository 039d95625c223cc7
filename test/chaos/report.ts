import { kindOf } from './describeFault.ts'
import type { FaultResult } from './runSchedule.ts'

export type KindRow = { kind: string; faults: number; medianSeconds: number; maxSeconds: number }

/** How long each kind of fault took to recover from, in the order of their names. */
export function recoveriesByKind(results: readonly FaultResult[]): KindRow[] {
  const byKind = new Map<string, number[]>()
  for (const { fault, recoverySeconds } of results) {
    if (recoverySeconds === null) continue
    const kind = kindOf(fault)
    byKind.set(kind, [...(byKind.get(kind) ?? []), recoverySeconds])
  }
  return [...byKind]
    .map(([kind, seconds]) => {
      const sorted = seconds.toSorted((left, right) => left - right)
      const medianSeconds = sorted[Math.floor(sorted.length / 2)] ?? 0
      return { kind, faults: sorted.length, medianSeconds, maxSeconds: sorted.at(-1) ?? 0 }
    })
    .toSorted((left, right) => left.kind.localeCompare(right.kind))
}
