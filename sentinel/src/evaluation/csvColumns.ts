import { parseTimestamp } from './parseTimestamp.ts'

/** Where in a line what is; undefined where there is no such column. */
export type CsvColumns = {
  timestamp: number | undefined
  value: number
  /** Which of several series in one file the line belongs to. */
  series: number | undefined
  separator: string
  /** Whether the first line names the columns, or is a point already. */
  named: boolean
}

/** As they are called in the Numenta, Yahoo S5, KPI (AIOps 2018), TimeEval and TSB benchmarks and in common tools. */
const timestampNames = ['timestamp', 'timestamps', 'timestamp_s', 'time', 'datetime', 'date', 'ds', 'index']
const valueNames = ['value', 'values', 'y', 'data']
const seriesNames = ['kpi id', 'kpi_id', 'unique_id', 'series', 'series_id']
/** Never read: a score does not depend on its label. */
const labelNames = ['label', 'labels', 'is_anomaly', 'anomaly', 'anomalies', 'is_outlier', 'ground_truth']
const separators = [',', ';', '\t']

/**
 * By the first line of a file. Names are found in any case and order; a value that is called something else is the only
 * column with a name that is not known. Without names there are one or two columns: values alone; time and value; or, where
 * the first is no time, value and label.
 *
 * @throws when it is not clear which column holds the values.
 */
export function csvColumns(firstLine: string): CsvColumns {
  const line = firstLine.replace(/^\uFEFF/, '')
  const separator = separators.find((one) => line.includes(one)) ?? ','
  const fields = splitCsvLine(line, separator)
  if (fields.some((field) => isNumber(field))) return { ...unnamed(fields), separator, named: false }
  const names = fields.map((field) => field.toLowerCase())
  const find = (known: readonly string[]) => {
    const found = known.map((name) => names.indexOf(name)).find((index) => index >= 0)
    return found
  }
  const known = new Set([...timestampNames, ...seriesNames, ...labelNames, ''])
  const rest = names.filter((name) => !known.has(name))
  const value = find(valueNames) ?? (rest.length === 1 ? names.indexOf(rest[0] ?? '') : undefined)
  if (value === undefined) {
    throw new Error(`line 1: the columns are ${names.join(', ')}: name the one with the values "value"`)
  }
  return { timestamp: find(timestampNames), value, series: find(seriesNames), separator, named: true }
}

/** Fields may be quoted, but hold no separator. */
export function splitCsvLine(line: string, separator: string): string[] {
  return line.split(separator).map((field) => field.trim().replace(/^"(.*)"$/, '$1'))
}

function unnamed(fields: readonly string[]): Pick<CsvColumns, 'timestamp' | 'value' | 'series'> {
  const [first = '', second] = fields
  if (second === undefined) return { timestamp: undefined, value: 0, series: undefined }
  if (fields.length > 2) {
    throw new Error(`line 1: ${fields.length} columns without names: write timestamp,value above them`)
  }
  const isLabel = Number(second) === 0 || Number(second) === 1
  const isTime = !isNumber(first) ? parseTimestamp(first) !== undefined : isIndex(first, isLabel)
  return isTime ? { timestamp: 0, value: 1, series: undefined } : { timestamp: undefined, value: 0, series: undefined }
}

/** A number of seconds or more, or one that counts points; beside what may be a label, only what cannot be a value. */
function isIndex(first: string, isLabel: boolean): boolean {
  const number = Number(first)
  return Number.isInteger(number) && number >= 0 && (!isLabel || number > 1e8)
}

function isNumber(field: string): boolean {
  return field !== '' && Number.isFinite(Number(field))
}
