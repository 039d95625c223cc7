import { expect, test } from 'vitest'
import { judgeCoverage } from './judgeCoverage.ts'
import { listAssemblyLines } from './listAssemblyLines.ts'
import { parseLcov } from './parseLcov.ts'

const report = `TN:
SF:contracts/src/A.sol
FN:2,A.f
DA:3,12
DA:4,0
DA:5,1
BRDA:3,0,0,7
BRDA:3,0,1,-
BRDA:9,1,0,0
end_of_record
TN:
SF:contracts/test/B.sol
DA:1,0
end_of_record
`

test('lines and branches that never ran are known by their line', () => {
  expect(parseLcov(report)).toEqual([
    { source: 'contracts/src/A.sol', lines: { total: 3, missed: [4] }, branches: { total: 3, missed: [3, 9] } },
    { source: 'contracts/test/B.sol', lines: { total: 1, missed: [1] }, branches: { total: 0, missed: [] } },
  ])
})

test('lines that are left out do not count', () => {
  const [file] = parseLcov(report, (source) => new Set(source === 'contracts/src/A.sol' ? [4, 9] : []))
  expect(file).toEqual({
    source: 'contracts/src/A.sol',
    lines: { total: 2, missed: [] },
    branches: { total: 2, missed: [3] },
  })
})

test('lines of inline assembly are those between its braces', () => {
  const source = [
    'function f() {', // 1
    '    x = 1; // no assembly {',
    '    assembly ("memory-safe") {',
    '        if lt(x, 2) { // } is not the end',
    '            x := 3',
    '        }',
    '    }',
    '    y = 2;', // 8
    '    assembly { x := 4 }',
    '}',
  ].join('\n')
  expect([...listAssemblyLines(source)]).toEqual([4, 5, 6, 7])
})

test('what is no report does not pass for full coverage', () => {
  expect(() => parseLcov('')).toThrow('Expected an lcov report, got: nothing')
  expect(() => parseLcov('Error: Compiler run failed')).toThrow('Compiler run failed')
  expect(() => parseLcov('SF:a\nDA:x,1')).toThrow('DA:x,1')
})

test('coverage below a bound fails and names what never ran; files that are not asked for do not count', () => {
  const { missed, failures } = judgeCoverage(parseLcov(report), ['contracts/src/A.sol'], { lines: 98, branches: 33 })
  expect(failures).toEqual(['66.67 % of lines ran, 98 % have to.'])
  expect(missed).toEqual([
    'contracts/src/A.sol:4 line never ran',
    'contracts/src/A.sol:3 branch never taken',
    'contracts/src/A.sol:9 branch never taken',
  ])
  expect(judgeCoverage(parseLcov(report), ['contracts/src/A.sol'], { lines: 66, branches: 34 }).failures).toEqual([
    '33.33 % of branches ran, 34 % have to.',
  ])
})

test('a source that no test deploys fails, whatever the rest covers', () => {
  const { failures } = judgeCoverage(parseLcov(report), ['contracts/src/A.sol', 'contracts/src/New.sol'], {
    lines: 0,
    branches: 0,
  })
  expect(failures).toEqual(['contracts/src/New.sol is not in the report: no test deploys it.'])
})
