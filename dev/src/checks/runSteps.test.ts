import { expect, test } from 'vitest'
import { runSteps } from './runSteps.ts'

function collect() {
  const lines: string[] = []
  return { lines, print: (line: string) => lines.push(...line.split('\n')) }
}

test('the last line is the sum of all tests', async () => {
  const { lines, print } = collect()
  const steps = [
    { title: 'Lint', run: async () => ({ exitCode: 0 }) },
    { title: 'A', run: async () => ({ exitCode: 0, counts: { passed: 3, failed: 0 } }) },
    { title: 'B', run: async () => ({ exitCode: 0, counts: { passed: 4, failed: 0 } }) },
  ]
  expect(await runSteps(steps, print)).toBe(0)
  expect(lines.at(-1)).toBe('7 passed, 0 failed')
})

test('nothing runs after the first failure, whose exit code is the answer', async () => {
  const { lines, print } = collect()
  let hasRun = false
  const steps = [
    { title: 'A', run: async () => ({ exitCode: 7, counts: { passed: 3, failed: 2 } }) },
    {
      title: 'B',
      run: async () => {
        hasRun = true
        return { exitCode: 0 }
      },
    },
  ]
  expect(await runSteps(steps, print)).toBe(7)
  expect(hasRun).toBe(false)
  expect(lines.at(-1)).toBe('3 passed, 2 failed')
  expect(lines.some((line) => line.includes('B  not run'))).toBe(true)
})

test('a step that fails without a failed test counts as one, and so does one that throws', async () => {
  const { lines, print } = collect()
  const steps = [
    {
      title: 'Lint',
      run: async () => {
        throw new Error('no such program')
      },
    },
  ]
  expect(await runSteps(steps, print)).toBe(1)
  expect(lines).toContain('no such program')
  expect(lines.at(-1)).toBe('0 passed, 1 failed')
})
