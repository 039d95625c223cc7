import { expect, test } from 'vitest'
import { readFindings } from './readFindings.ts'

const output = (...detectors: object[]) => JSON.stringify({ success: true, error: null, results: { detectors } })

test('a finding is told with its detector and weight', () => {
  const finding = {
    check: 'tx-origin',
    impact: 'Medium',
    description: 'A.f() uses tx.origin (contracts/src/A.sol#7)\n',
  }
  expect(readFindings(output(finding), '', 'contracts/src/')).toEqual([
    'tx-origin (Medium): A.f() uses tx.origin (contracts/src/A.sol#7)',
  ])
  expect(readFindings(output(), '', 'contracts/src/')).toEqual([])
})

test('an explanation without its finding is a finding, except in dependencies', () => {
  const unused = (file: string) => ({ file, line: 3, unused_detectors: ['timestamp'] })
  const unusedIgnores = [unused('/repo/contracts/src/A.sol'), unused('/repo/node_modules/b/B.sol')]
  const finding = { check: 'unused-ignore-directive', unused_ignores: unusedIgnores }
  expect(readFindings(output(finding), '', 'contracts/src/')).toEqual([
    '/repo/contracts/src/A.sol:3 explains a finding that is gone: timestamp',
  ])
})

test('a function of ours that could not be analysed is a finding, one of a dependency is not', () => {
  const log = [
    'Impossible to generate IR for A.f (contracts/src/A.sol#53-55):',
    'Impossible to generate IR for B.f (node_modules/b/B.sol#53-55):',
  ].join('\n')
  const findings = readFindings(output(), log, 'contracts/src/')
  expect(findings).toHaveLength(1)
  expect(findings[0]).toContain('A.f (contracts/src/A.sol#53-55)')
})

test('silence and failure do not pass for a clean report', () => {
  expect(() => readFindings('', 'no such compiler', 'contracts/src/')).toThrow('no such compiler')
  expect(() => readFindings('{"success":false,"error":"out of gas"}', '', 'contracts/src/')).toThrow('out of gas')
})
