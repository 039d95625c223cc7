import { expect, test } from 'vitest'
import { recoveriesByKind } from './report.ts'
import type { FaultResult } from './runSchedule.ts'

test('kinds are listed once, with the median and the longest of their recoveries', () => {
  const kill = (recoverySeconds: number | null, index: number): FaultResult => ({
    fault: { kind: 'kill', process: index % 2 === 0 ? 'gateway-1' : 'gateway-2', index, pauseMs: 0 },
    atSeconds: 0,
    recoverySeconds,
    problem: undefined,
  })
  const flush: FaultResult = {
    fault: { kind: 'redis-flush', index: 9, pauseMs: 0 },
    atSeconds: 0,
    recoverySeconds: 1,
    problem: undefined,
  }
  expect(recoveriesByKind([flush, kill(3, 0), kill(1, 1), kill(2, 2), kill(null, 3)])).toEqual([
    { kind: 'kill gateway', faults: 3, medianSeconds: 2, maxSeconds: 3 },
    { kind: 'redis-flush', faults: 1, medianSeconds: 1, maxSeconds: 1 },
  ])
})
