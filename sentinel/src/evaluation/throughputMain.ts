import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { measureThroughput } from './throughput.ts'

// node --expose-gc --import tsx sentinel/src/evaluation/throughputMain.ts [--json FILE]: rules and scoring of 10,000 and of
// 100,000 grants in one process. Without --expose-gc the memory is not measured. About a minute.

const { values } = parseArgs({ options: { json: { type: 'string' } } })
const measured = [measureThroughput(10_000, 200), measureThroughput(10_000, 400), measureThroughput(100_000, 40)]
console.table(measured)
if (values.json) await writeFile(values.json, `${JSON.stringify(measured, null, 2)}\n`)
