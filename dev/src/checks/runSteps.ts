import type { Counts } from './counts.ts'

/** What came of a step. `exitCode` 0 is success. Only steps that run tests count any. */
export type StepResult = { exitCode: number; counts?: Counts }

export type Step = {
  title: string
  run(): Promise<StepResult>
}

/**
 * Runs the steps in order and stops after the first that fails. Every step gets a header and its time; the end is a
 * summary and, alone on its line, `N passed, N failed`, the sum of the tests. A step that fails without a failed test
 * counts as one.
 *
 * @returns the exit code of the step that failed, or 0
 */
export async function runSteps(steps: Step[], print: (line: string) => void): Promise<number> {
  const summary: string[] = []
  const total: Counts = { passed: 0, failed: 0 }
  let exitCode = 0
  for (const [index, step] of steps.entries()) {
    print(`\n── ${index + 1}/${steps.length} ${step.title} ${'─'.repeat(Math.max(3, 70 - step.title.length))}`)
    const startedAt = performance.now()
    const result = await step.run().catch((error: unknown): StepResult => {
      print(error instanceof Error ? error.message : String(error))
      return { exitCode: 1 }
    })
    exitCode = result.exitCode
    total.passed += result.counts?.passed ?? 0
    total.failed += exitCode === 0 ? 0 : Math.max(1, result.counts?.failed ?? 0)

    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)
    const tests = result.counts
      ? `  ${result.counts.passed} of ${result.counts.passed + result.counts.failed} tests`
      : ''
    summary.push(`${exitCode === 0 ? '✓' : '✗'} ${seconds} s  ${step.title}${tests}`)
    if (exitCode !== 0) break
  }
  for (const step of steps.slice(summary.length)) summary.push(`·        –  ${step.title}  not run`)
  print(`\n${summary.join('\n')}\n`)
  print(`${total.passed} passed, ${total.failed} failed`)
  return exitCode
}
