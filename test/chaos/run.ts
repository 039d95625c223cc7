import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { allCrashPoints, type Fault, processes } from './fault.ts'
import { untilReady } from './faults/untilReady.ts'
import { openMarket } from './openMarket.ts'
import { readFacts } from './readFacts.ts'
import { recoveriesByKind } from './report.ts'
import { runSchedule } from './runSchedule.ts'
import { createSchedule } from './schedule.ts'
import { startTraffic, type Traffic } from './startTraffic.ts'
import { untilSettled } from './untilSettled.ts'
import { judge } from './verdict.ts'
import { type SettlementWatch, watchSettlements } from './watchSettlements.ts'
import { startWorld, type World } from './world.ts'

// npm run chaos -- --seed N --faults N --payments N --json FILE: makes everything go wrong, then counts every cent.

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    faults: { type: 'string', default: '200' },
    payments: { type: 'string', default: '10000' },
    json: { type: 'string' },
    /** Indices of the schedule with commas between them: to find out which faults it takes. */
    only: { type: 'string' },
    /** Services' logs go here and stay. */
    logs: { type: 'string' },
  },
})
const [seed, faults, payments] = [values.seed, values.faults, values.payments].map(wholeNumber) as [
  number,
  number,
  number,
]
const only = values.only?.split(',').map(wholeNumber)
const schedule = createSchedule({ seed, faults }).filter(({ index }) => only?.includes(index) ?? true)

const secondsPerFault = 2
const warmUpMs = 60_000
const answerMs = 120_000
const settleMs = 240_000
const paymentsMs = 900_000
/** As fast as the agents go when nothing else is left to do. */
const maxCallsPerSecond = 60

const startedAt = performance.now()
const running: { world?: World; traffic?: Traffic; settlements?: SettlementWatch } = {}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    await running.world?.stop()
    process.exit(130)
  })
}
try {
  process.exitCode = (await run()) ? 0 : 1
} finally {
  await running.settlements?.stop()
  await running.world?.stop()
}

async function run(): Promise<boolean> {
  log(`seed ${seed}: ${schedule.length} faults, ${payments} payments`)
  const world = await startWorld({ log, logDirectory: values.logs })
  running.world = world
  for (const name of processes) await untilReady(world, name, warmUpMs)
  const market = await openMarket(world)
  await startBlocks(world)
  log(`${market.shops.length} shops, ${market.buyers.length} agents`)

  const callsPerSecond = Math.min(maxCallsPerSecond, Math.max(5, payments / (schedule.length * secondsPerFault)))
  const traffic = startTraffic(world, market, { callsPerSecond })
  running.traffic = traffic
  const settlements = watchSettlements(world)
  running.settlements = settlements
  await traffic.untilTotal(50, warmUpMs)
  await settlements.untilConfirmed(warmUpMs)
  log(`${traffic.served()} calls served, settlements confirm; here it comes`)

  const results = await runSchedule(schedule, { world, traffic, settlements, log })
  log(`all faults done, ${traffic.served()} calls served`)
  traffic.setCallsPerSecond(maxCallsPerSecond)
  await traffic.untilTotal(payments, paymentsMs).catch((error) => log(String(error)))
  await traffic.stop(answerMs)
  log(`${traffic.served()} calls served, ${settlements.confirmed()} settlements; the rest is settled`)
  const isSettled = await untilSettled(world, settleMs)
  log(isSettled ? 'all is settled' : `not all was settled within ${settleMs} ms`)

  const facts = await readFacts(world, market, traffic, results)
  const points = allCrashPoints.filter((point) => schedule.some((fault) => isCrashAt(fault, point)))
  const { problems, ...verdict } = judge(facts, results, { faults: schedule.length, payments, points })
  const table = recoveriesByKind(results)
  console.table(table)
  console.log(`refusals: ${JSON.stringify(Object.fromEntries(traffic.refusals))}`)
  console.log(JSON.stringify(verdict, null, 2))
  for (const problem of problems) console.error(`PROBLEM ${problem}`)
  if (problems.length > 0) console.error(`Run it again with: npm run chaos -- ${process.argv.slice(2).join(' ')}`)
  if (values.json) {
    const seconds = Math.round((performance.now() - startedAt) / 1_000)
    const detail = { seed, seconds, settlements: settlements.confirmed(), kinds: table, results, problems }
    await writeFile(values.json, `${JSON.stringify({ ...verdict, ...detail }, null, 2)}\n`)
  }
  return problems.length === 0
}

/** Until here each transaction made a block of its own, which is fast; from here on time makes them. */
async function startBlocks({ clients: { publicClient } }: World): Promise<void> {
  await publicClient.request({ method: 'evm_setAutomine' as never, params: [false] as never })
  await publicClient.request({ method: 'evm_setIntervalMining' as never, params: [1] as never })
}

function isCrashAt(fault: Fault, point: string): boolean {
  return fault.kind === 'crash' && fault.point === point
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`"${text}" is not a whole number.`)
  return Number(text)
}

function log(line: string): void {
  console.log(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${line}`)
}
