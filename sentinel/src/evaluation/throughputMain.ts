import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { measureThroughput } from './throughput.ts'

// npm run throughput -w sentinel [-- --json FILE]: rules and scoring of 10,000 and of 100,000 grants in one process, and
// whether the memory of a grant stays the same with three times the events. Without node's --expose-gc the memory is not
// measured. About a minute.

const { values } = parseArgs({ options: { json: { type: 'string' } } })
const measured = [measureThroughput(10_000, 120), measureThroughput(10_000, 360), measureThroughput(100_000, 120)]
console.table(measured)
if (values.json) await writeFile(values.json, `${JSON.stringify(measured, null, 2)}\n`)
