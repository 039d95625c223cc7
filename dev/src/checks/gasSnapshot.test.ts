import { expect, test } from 'vitest'
import { compareGas, readGas } from './gasSnapshot.ts'

const output = JSON.stringify({
  'test/Gas.t.sol:GasOfUsdcTest': {
    test_results: {
      'test_b()': { status: 'Success', gas_snapshots: { USDC: { settle: '70000' } } },
      'test_a()': { status: 'Success', gas_snapshots: { USDC: { freeze: '31600' } } },
    },
  },
  'test/Gas.t.sol:GasOfFiatTest': { test_results: { 'test_a()': { gas_snapshots: { Fiat: { freeze: '31600' } } } } },
  'test/Other.t.sol:OtherTest': { test_results: { 'test_c()': { status: 'Success', gas_snapshots: {} } } },
})

test('figures are read from whichever test measured them, and come in one order', () => {
  const snapshot = readGas(output)
  expect(JSON.stringify(snapshot)).toBe('{"Fiat":{"freeze":31600},"USDC":{"freeze":31600,"settle":70000}}')
})

test('a run that measured nothing does not pass for one without a change', () => {
  expect(() => readGas('{}')).toThrow('No test measured gas')
  expect(() => readGas('Error: Compiler run failed')).toThrow('Compiler run failed')
})

test('a figure that rises, falls, appears or disappears is told, an equal one is not', () => {
  const committed = { USDC: { freeze: 31_600, settle: 70_000, grant: 5, install: 9 } }
  const measured = { USDC: { freeze: 31_600, settle: 70_001, grant: 4 }, Fiat: { freeze: 31_700 } }
  expect(compareGas(committed, measured)).toEqual([
    'USDC, settle: 70000 → 70001 gas, +1',
    'USDC, grant: 5 → 4 gas, -1',
    'USDC, install: 9 gas, not measured any more',
    'Fiat, freeze: 31700 gas, new',
  ])
  expect(compareGas(committed, committed)).toEqual([])
})
