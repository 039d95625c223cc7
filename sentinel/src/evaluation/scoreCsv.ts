import { createReadStream, createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { scoreCsvLines } from './scoreCsvLines.ts'

// npx tsx sentinel/src/evaluation/scoreCsv.ts --input series.csv --output scores.csv

const { values } = parseArgs({ options: { input: { type: 'string' }, output: { type: 'string' } } })
if (!values.input || !values.output) {
  console.error(
    'usage: scoreCsv.ts --input series.csv --output scores.csv (input with the columns timestamp and value)',
  )
  process.exit(2)
}
const lines = createInterface({ input: createReadStream(values.input), crlfDelay: Number.POSITIVE_INFINITY })
await pipeline(Readable.from(scoreCsvLines(lines)), createWriteStream(values.output))
