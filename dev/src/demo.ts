// What `npm run demo` runs: an agent pays 1,200 HTTP calls with one signature of the owner, and the money arrives. With
// `--attack`: the agent's key is stolen, and the sentinel stops it before the money is gone.
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { grantSources } from '@protocolbanks/stream-protocol'
import { findAttackDifferences, formatAttackReport } from './demo/attackReport.ts'
import { findDifferences, formatReport } from './demo/demoReport.ts'
import { runAttack } from './demo/runAttack.ts'
import { runDemo } from './demo/runDemo.ts'
import { startStack } from './stack/stack.ts'
import { accountKinds } from './story/openAccount.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    'no-redis': { type: 'boolean', default: false },
    calls: { type: 'string', default: '1200' },
    account: { type: 'string', default: 'stream' },
    source: { type: 'string', default: 'allowance' },
    attack: { type: 'boolean', default: false },
  },
})
const calls = Number(values.calls)
if (!Number.isInteger(calls) || calls < 1 || calls > 5_000) {
  throw new Error(`--calls takes 1 to 5000, which 50 USDC pay for; not ${values.calls}.`)
}
const accountKind = accountKinds.find((kind) => kind === values.account)
if (!accountKind) throw new Error(`--account takes ${accountKinds.join(' or ')}; not ${values.account}.`)
const source = grantSources.find((known) => known === values.source)
if (!source) throw new Error(`--source takes ${grantSources.join(' or ')}; not ${values.source}.`)

console.log('Starting a chain, a bundler, Postgres and the services …')
const stack = await startStack({
  withRedis: values['no-redis'] ? false : 'auto',
  // The grant of the story is a minute old, so its first minutes have to count.
  ...(values.attack && { withSentinel: true, env: { sentinel: { WARM_UP_SECONDS: '0' } } }),
  log: (line) => console.log(`  ${line}`),
})
console.log(
  stack.redis ? `The meter is in Redis: ${stack.redis.url}` : 'The meter is embedded in the gateway: no Redis here',
)
try {
  const { report, table, differences, allGood } = values.attack ? await tellAttack() : await tellPayment()
  console.log(`\n${table}\n`)
  if (values.json) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`)
  for (const difference of differences) console.error(`✗ ${difference}`)
  if (differences.length === 0) console.log(`✓ ${allGood}`)
  else process.exitCode = 1
} finally {
  await stack.stop()
}

async function tellPayment() {
  if (!accountKind || !source) throw new Error('They were looked at above.')
  const { report, balance, priceAtomic, decimals } = await runDemo(stack, { calls, accountKind, source })
  return {
    report,
    table: formatReport(report, balance, decimals),
    differences: findDifferences(report, priceAtomic),
    allGood: 'Charged, settled and received are equal to the last unit.',
  }
}

async function tellAttack() {
  const { report, decimals } = await runAttack(stack)
  return {
    report,
    table: formatAttackReport(report, decimals),
    differences: findAttackDifferences(report),
    allGood:
      'Stopped at the gateway and on the chain; what was charged is what was served, and the owner let it go on.',
  }
}
