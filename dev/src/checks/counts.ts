import { parseObject } from './parseObject.ts'

/** How many tests of a run passed and did not. A skipped test counts as failed: nothing here may be skipped. */
export type Counts = { passed: number; failed: number }

/** Reads what `forge test --json` printed. @throws when it is something else */
export function countForgeTests(output: string): Counts & { failures: string[] } {
  const suites = parseObject(output, 'forge test --json')
  let passed = 0
  const failures: string[] = []
  for (const [suite, { test_results: results = {} }] of Object.entries(suites as Record<string, ForgeSuite>)) {
    for (const [name, { status, reason }] of Object.entries(results)) {
      if (status === 'Success') passed++
      else failures.push(`${suite} ${name}: ${status ?? 'no status'}${reason ? `, ${reason}` : ''}`)
    }
  }
  return { passed, failed: failures.length, failures }
}

type ForgeSuite = { test_results?: Record<string, { status?: string; reason?: string | null }> }

/** Reads what vitest's json reporter wrote. @throws when it is something else */
export function countVitestTests(report: string): Counts {
  const { numTotalTests, numPassedTests } = parseObject(report, "vitest's json reporter") as Record<string, unknown>
  if (typeof numTotalTests !== 'number' || typeof numPassedTests !== 'number') {
    throw new Error('The report of vitest has no numTotalTests and numPassedTests.')
  }
  return { passed: numPassedTests, failed: numTotalTests - numPassedTests }
}
