import { alarmScore } from '../scoring/detector.ts'
import { createSeriesState, observeSeries, type SeriesState } from '../scoring/seriesScorer.ts'
import { type CsvColumns, csvColumns, splitCsvLine } from './csvColumns.ts'
import { parseTimestamp } from './parseTimestamp.ts'

/** One file may hold so many series. */
const mostSeries = 10_000

/**
 * The lines of a CSV, as `csvColumns` understands it, to lines with `timestamp,value,score,anomaly`, one for one and in the
 * same order, and with the name of the series behind them where there are several. `anomaly` is 1 where the score is 0.5
 * or more. A value that is empty or not a number is missing: it scores 0. Without timestamps, points are counted. Each
 * line is written before the next is read.
 *
 * @throws when it is not clear where the values are, or a timestamp cannot be read: with the number of the line.
 */
export async function* scoreCsvLines(lines: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string> {
  const states = new Map<string, SeriesState>()
  let columns: CsvColumns | undefined
  let [number, points] = [0, 0]
  for await (const line of lines) {
    number++
    if (line.trim() === '') continue
    if (!columns) {
      columns = csvColumns(line)
      yield `timestamp,value,score,anomaly${columns.series === undefined ? '' : ',series'}\n`
      if (columns.named) continue
    }
    const fields = splitCsvLine(line, columns.separator)
    const timestamp = columns.timestamp === undefined ? `${points}` : (fields[columns.timestamp] ?? '')
    const timestampMs = parseTimestamp(timestamp)
    if (timestampMs === undefined) {
      throw new Error(
        `line ${number}: "${timestamp}" is no timestamp. Write ISO 8601 (2026-01-31 23:59:59 is UTC) or seconds since 1970.`,
      )
    }
    points++
    const value = fields[columns.value] ?? ''
    const series = columns.series === undefined ? undefined : (fields[columns.series] ?? '')
    const state = stateOf(states, series ?? '', number)
    const { score } = observeSeries(state, { timestampMs, value: value === '' ? Number.NaN : Number(value) })
    const scored = `${timestamp},${value},${score.toFixed(6)},${score >= alarmScore ? 1 : 0}`
    yield `${scored}${series === undefined ? '' : `,${series}`}\n`
  }
  if (!columns) throw new Error('the input is empty: it has to hold lines with a timestamp and a value')
}

function stateOf(states: Map<string, SeriesState>, series: string, number: number): SeriesState {
  const known = states.get(series)
  if (known) return known
  if (states.size === mostSeries) throw new Error(`line ${number}: more than ${mostSeries} series: split the file`)
  const state = createSeriesState()
  states.set(series, state)
  return state
}
