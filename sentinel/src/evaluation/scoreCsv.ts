import { createReadStream, createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { scoreCsvLines } from './scoreCsvLines.ts'

// npx tsx sentinel/src/evaluation/scoreCsv.ts [--input series.csv] [--output scores.csv]
// Without a file it reads stdin, and writes stdout. Exit code 2 and a line on stderr when the input cannot be read.

try {
  const { values } = parseArgs({ options: { input: { type: 'string' }, output: { type: 'string' } } })
  const input = values.input === undefined ? process.stdin : createReadStream(values.input)
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  // A file that is not there must not end the lines as if they had been read.
  const failed = new Promise<never>((_, reject) => input.once('error', reject))
  const output = values.output === undefined ? process.stdout : createWriteStream(values.output)
  await Promise.race([pipeline(Readable.from(scoreCsvLines(lines)), output), failed])
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}
