// What `npm start` runs: the whole service on this machine, until Ctrl-C.
import { parseArgs } from 'node:util'
import { freePort } from './processes/freePort.ts'
import { describeStack } from './stack/describeStack.ts'
import { type Stack, startStack } from './stack/stack.ts'
import { exampleCurl } from './story/exampleCurl.ts'
import { grantBudget } from './story/grantBudget.ts'
import { type Merchant, openMerchant } from './story/openMerchant.ts'
import { untilMirrored } from './story/untilMirrored.ts'

const { values } = parseArgs({
  options: { 'no-redis': { type: 'boolean', default: false }, 'block-time': { type: 'string' } },
})
const blockTimeSeconds = values['block-time'] === undefined ? undefined : Number(values['block-time'])
if (blockTimeSeconds !== undefined && !(blockTimeSeconds >= 0.1 && blockTimeSeconds <= 60)) {
  throw new Error(`--block-time takes seconds between 0.1 and 60, not ${values['block-time']}.`)
}

let stack: Stack | undefined
let merchant: Merchant | undefined
let isEnding = false

async function end(exitCode: number): Promise<void> {
  if (isEnding) return
  isEnding = true
  // Without a stack we are still starting; what has started ends with this process (see processes/reaper.ts).
  if (stack) {
    console.log('\nStopping …')
    await merchant?.stop()
    await stack.stop()
  }
  process.exit(exitCode)
}
process.on('SIGINT', () => end(0))
process.on('SIGTERM', () => end(0))

const [anvil, bundler, gateway, paymaster, settlement, sentinel] = await Promise.all(
  [8545, 4337, 4020, 4021, 4022, 4023].map((preferred) => freePort(preferred)),
)
const ports = Object.fromEntries(
  Object.entries({ anvil, bundler, gateway, paymaster, settlement, sentinel }).filter(([, port]) => port !== undefined),
)
console.log('Starting …')
stack = await startStack({
  ports,
  withSentinel: true,
  withRedis: values['no-redis'] ? false : 'auto',
  ...(blockTimeSeconds === undefined ? {} : { blockTimeSeconds }),
  log: (line) => console.log(`  ${line}`),
}).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
})
merchant = await openMerchant(stack)
const budget = await grantBudget(stack, {
  payees: [merchant.payee],
  amountAtomic: 50_000_000n,
  days: 30,
  paymasterApiKey: merchant.apiKey,
})
await untilMirrored(stack, budget)
const url = `${merchant.serviceUrl}/paris`
console.log(describeStack(stack, { merchant, budget, curl: await exampleCurl(url, budget) }))

for (const running of [stack.gateway, stack.paymaster, stack.settlement, stack.sentinel]) {
  const service = running?.process
  service?.exited.then(({ code, signal }) => {
    if (isEnding) return
    console.error(`${service.name} ended by itself with ${signal ?? `code ${code}`}. Its log: ${service.logFile}`)
    return end(1)
  })
}
