import { createSeriesState, observeSeries } from '../scoring/seriesScorer.ts'
import { parseTimestamp } from './parseTimestamp.ts'

/**
 * The lines of a CSV with the columns `timestamp` and `value`, in any order and among others, to lines with
 * `timestamp,value,score,alarm`, one for one. Fields may be quoted but hold no commas. A value that is empty or not a
 * number is missing: it scores 0. Each line is written before the next is read.
 *
 * @throws when a column is missing, or a timestamp cannot be read: with the number of the line.
 */
export async function* scoreCsvLines(lines: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string> {
  const state = createSeriesState()
  let columns: { timestamp: number; value: number } | undefined
  let number = 0
  for await (const line of lines) {
    number++
    if (line.trim() === '') continue
    const fields = line.split(',').map(unquoted)
    if (!columns) {
      columns = columnsOf(fields)
      yield 'timestamp,value,score,alarm\n'
      continue
    }
    const [timestamp, value] = [fields[columns.timestamp] ?? '', fields[columns.value] ?? '']
    const timestampMs = parseTimestamp(timestamp)
    if (timestampMs === undefined) {
      throw new Error(
        `line ${number}: "${timestamp}" is no timestamp. Write ISO 8601 (2026-01-31 23:59:59 is UTC) or seconds since 1970.`,
      )
    }
    const { score, alarm } = observeSeries(state, { timestampMs, value: value === '' ? Number.NaN : Number(value) })
    yield `${timestamp},${value},${score.toFixed(6)},${alarm ? 1 : 0}\n`
  }
  if (!columns) throw new Error('the input is empty: its first line has to name the columns timestamp and value')
}

function columnsOf(fields: readonly string[]): { timestamp: number; value: number } {
  const names = fields.map((field) => field.replace(/^\uFEFF/, '').toLowerCase())
  const [timestamp, value] = [names.indexOf('timestamp'), names.indexOf('value')]
  if (timestamp < 0 || value < 0) {
    throw new Error(`line 1: the columns are ${names.join(', ')}; timestamp and value have to be among them`)
  }
  return { timestamp, value }
}

function unquoted(field: string): string {
  return field.trim().replace(/^"(.*)"$/, '$1')
}
