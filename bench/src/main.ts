import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { benchCalls } from './calls.ts'
import { benchSettlement } from './settlement/benchSettlement.ts'

// npm run bench [-- calls | settlement] [-- --json FILE]; each has its figures and its options.

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    /** Of the settlement: how many accounts, and how often each way is measured. */
    accounts: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '3' },
  },
})

const subjects: Record<string, () => Promise<object>> = {
  calls: benchCalls,
  settlement: () => benchSettlement({ accounts: Number(values.accounts), rounds: Number(values.rounds) }),
}

const [subject = 'calls'] = positionals
const measure = subjects[subject]
if (!measure) throw new Error(`There is no bench "${subject}": ${Object.keys(subjects).join(', ')}.`)
const report = await measure()
if (values.json) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`)
