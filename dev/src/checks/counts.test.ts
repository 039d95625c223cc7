import { expect, test } from 'vitest'
import { countForgeTests, countVitestTests } from './counts.ts'

test('forge: what is not a success is a failure with its suite, name and reason', () => {
  const output = JSON.stringify({
    'test/A.t.sol:ATest': {
      duration: '1ms',
      test_results: {
        'test_a()': { status: 'Success', reason: null },
        'test_b()': { status: 'Failure', reason: 'no' },
      },
    },
    'test/B.t.sol:BTest': { test_results: { 'test_c()': { status: 'Skipped' } } },
  })
  expect(countForgeTests(output)).toEqual({
    passed: 1,
    failed: 2,
    failures: ['test/A.t.sol:ATest test_b(): Failure, no', 'test/B.t.sol:BTest test_c(): Skipped'],
  })
})

test('forge: output that is not JSON, like that of a compiler error, is shown', () => {
  expect(() => countForgeTests('Error: Compiler run failed')).toThrow('got: Error: Compiler run failed')
})

test('vitest: every test that did not pass counts as failed, skipped ones too', () => {
  const report = { numTotalTests: 10, numPassedTests: 7, numFailedTests: 1, numPendingTests: 1, numTodoTests: 1 }
  expect(countVitestTests(JSON.stringify(report))).toEqual({ passed: 7, failed: 3 })
  expect(() => countVitestTests('{}')).toThrow('numTotalTests')
})
