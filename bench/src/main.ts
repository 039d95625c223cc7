import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { benchCalls } from './calls.ts'
import { benchGrants } from './grants.ts'
import { benchMeter } from './meter.ts'
import { benchPeers } from './peers/benchPeers.ts'
import { benchProfile } from './profile.ts'
import { benchScoring } from './sentinel/benchScoring.ts'
import { benchSentinel } from './sentinel/benchSentinel.ts'
import { benchSettlement } from './settlement/benchSettlement.ts'

// npm run bench [-- calls | meter | grants | peers | profile | settlement | sentinel | scoring] [-- --json FILE]; each has its figures and its options.

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    /** Of the settlement: how many accounts, and how often each way is measured, as with peers. */
    accounts: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '3' },
    /** Of the sentinel: grants in use, their calls a second, how many run away, and how often there is a block. */
    grants: { type: 'string', default: '1000' },
    rate: { type: 'string', default: '1000' },
    offenders: { type: 'string', default: '100' },
    'block-time': { type: 'string', default: '1' },
  },
})

const subjects: Record<string, () => Promise<object>> = {
  calls: benchCalls,
  meter: benchMeter,
  grants: benchGrants,
  peers: () => benchPeers({ rounds: Number(values.rounds) }),
  profile: benchProfile,
  sentinel: () =>
    benchSentinel({
      grants: Number(values.grants),
      rate: Number(values.rate),
      offenders: Number(values.offenders),
      blockSeconds: Number(values['block-time']),
    }),
  scoring: benchScoring,
  settlement: () => benchSettlement({ accounts: Number(values.accounts), rounds: Number(values.rounds) }),
}

const [subject = 'calls'] = positionals
const measure = subjects[subject]
if (!measure) throw new Error(`There is no bench "${subject}": ${Object.keys(subjects).join(', ')}.`)
const report = await measure()
if (values.json) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`)
