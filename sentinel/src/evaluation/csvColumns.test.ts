import { expect, test } from 'vitest'
import { csvColumns } from './csvColumns.ts'

// First lines as the benchmarks have them.
test.each([
  ['Numenta', 'timestamp,value', { timestamp: 0, value: 1, series: undefined, named: true }],
  ['Yahoo S5 A1 and A2', 'timestamp,value,is_anomaly', { timestamp: 0, value: 1, series: undefined, named: true }],
  [
    'Yahoo S5 A3 and A4',
    'timestamps,value,anomaly,changepoint,trend,noise,seasonality1,seasonality2,seasonality3',
    { timestamp: 0, value: 1, series: undefined, named: true },
  ],
  ['KPI, AIOps 2018', 'timestamp,value,label,KPI ID', { timestamp: 0, value: 1, series: 3, named: true }],
  ['TimeEval', 'timestamp,sensor-0,is_anomaly', { timestamp: 0, value: 1, series: undefined, named: true }],
  ['TSB-AD', 'Data,Label', { timestamp: undefined, value: 0, series: undefined, named: true }],
  ['TSB-UAD', '-0.4375,0', { timestamp: undefined, value: 0, series: undefined, named: false }],
  ['UCR', '  2.8366300e+02', { timestamp: undefined, value: 0, series: undefined, named: false }],
  ['a table of forecasts', 'unique_id,ds,y', { timestamp: 1, value: 2, series: 0, named: true }],
  ['times and values', '1700000000;12.5', { timestamp: 0, value: 1, series: undefined, named: false }],
  ['dates and values', '2024-01-01 00:00:00,1', { timestamp: 0, value: 1, series: undefined, named: false }],
  ['counted points', '0,12.5', { timestamp: 0, value: 1, series: undefined, named: false }],
] as const)('%s', (_, line, expected) => {
  expect(csvColumns(line)).toMatchObject(expected)
})
