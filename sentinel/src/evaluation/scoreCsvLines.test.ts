import { expect, test } from 'vitest'
import { createRandom } from '../simulation/createRandom.ts'
import { scoreCsvLines } from './scoreCsvLines.ts'

async function linesOf(input: readonly string[]): Promise<string[]> {
  const lines: string[] = []
  for await (const line of scoreCsvLines(input)) lines.push(line)
  return lines
}

/** About 20, and 90 at one point. */
function valuesWithSpike(length: number, spikeAt: number): string[] {
  const random = createRandom(1)
  return Array.from({ length }, (_, index) => (index === spikeAt ? '90' : (20 + random.normal()).toFixed(3)))
}

const marked = (lines: readonly string[]) =>
  lines.flatMap((line, index) => (line.split(',')[3]?.startsWith('1') ? [index] : []))

test('every line gets its score and whether it is an anomaly, and nothing else changes', async () => {
  const rows = valuesWithSpike(200, 150).map((value, index) => {
    const at = new Date(Date.UTC(2014, 3, 1) + index * 300_000).toISOString().replace('T', ' ').slice(0, 19)
    return `${at},${value}`
  })
  const [header, ...scored] = await linesOf(['timestamp,value', ...rows])
  expect(header).toBe('timestamp,value,score,anomaly\n')
  expect(scored.map((line) => line.split(',').slice(0, 2).join(','))).toEqual(rows)
  expect(marked(scored)).toEqual([150])
  expect(scored[150]).toMatch(/,90,0\.[5-9]\d{5},1\n$/)
})

test('columns are found by name, quoted or among others, and lines without anything are skipped', async () => {
  const lines = await linesOf(['\uFEFF"Value",label,"Timestamp"', '3.5,x,1400000000', '', '4,y,1400000060'])
  expect(lines.slice(1)).toEqual(['1400000000,3.5,0.000000,0\n', '1400000060,4,0.000000,0\n'])
})

test('a missing value keeps its line and scores 0', async () => {
  const lines = await linesOf(['timestamp,value', '1,1', '2,', '3,NaN', '4,1'])
  expect(lines.slice(2, 4)).toEqual(['2,,0.000000,0\n', '3,NaN,0.000000,0\n'])
})

test('values without timestamps and names are counted', async () => {
  const lines = await linesOf(valuesWithSpike(200, 150))
  expect(lines).toHaveLength(201)
  expect(lines[1]).toMatch(/^0,/)
  expect(marked(lines.slice(1))).toEqual([150])
})

test('several series in one file are scored each by itself', async () => {
  const values = valuesWithSpike(200, 150)
  const both = values.flatMap((value, index) => [`${index},${value},0,a`, `${index},${1_000 * Number(value)},0,b`])
  const [header, ...scored] = await linesOf(['timestamp,value,label,KPI ID', ...both])
  expect(header).toBe('timestamp,value,score,anomaly,series\n')
  expect(marked(scored)).toEqual([300, 301])
  const scores = scored.map((line) => line.split(',')[2])
  const alone = await linesOf(['timestamp,value', ...values.map((value, index) => `${index},${value}`)])
  expect(scores.filter((_, index) => index % 2 === 0)).toEqual(alone.slice(1).map((line) => line.split(',')[2]))
})

test('a label changes no score', async () => {
  const values = valuesWithSpike(200, 150)
  const labelled = (label: number) => [
    'timestamp,value,is_anomaly',
    ...values.map((one, at) => `${at},${one},${label}`),
  ]
  expect(await linesOf(labelled(1))).toEqual(await linesOf(labelled(0)))
})

test('a line is scored before the next is read', async () => {
  const read: number[] = []
  function* lines() {
    for (let index = 0; index < 5; index++) {
      read.push(index)
      yield `${index + 2e8},1.5`
    }
  }
  const scored = scoreCsvLines(lines())
  await scored.next()
  await scored.next()
  expect(read).toEqual([0])
})

test('what cannot be read is refused with its line and what to write', async () => {
  await expect(linesOf(['timestamp,value', '1,1', 'yesterday,1'])).rejects.toThrow(
    /^line 3: "yesterday" is no timestamp/,
  )
  await expect(linesOf(['time,cpu,memory'])).rejects.toThrow('line 1: the columns are time, cpu, memory')
  await expect(linesOf(['1,2,3'])).rejects.toThrow('line 1: 3 columns without names')
  await expect(linesOf([])).rejects.toThrow('the input is empty')
})
