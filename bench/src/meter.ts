import { randomUUID } from 'node:crypto'
import { startRedis } from '@protocolbanks/stream-dev'
import { createMeter, type Meter, type Use } from '@protocolbanks/stream-gateway'
import { machine } from './machine.ts'
import { median } from './median.ts'
import { accountAt, accountStateAt, grantIdAt, payee, price } from './scenario.ts'

// The meter alone: charges one after the other, and many at once, over accounts in all partitions.

const rounds = 3
const accounts = 64
const settings = [
  { inFlight: 1, amount: 4_000 },
  { inFlight: 50, amount: 20_000 },
  { inFlight: 200, amount: 20_000 },
]

type Figures = { chargesPerSecond: number; p50Ms: number; p99Ms: number; cpuUs: number }

/** Prints the table, and answers with the figures. `cpuUs` is of the process that asks, not of Redis. */
export async function benchMeter(): Promise<object> {
  const redis = await startRedis()
  const meter = createMeter({
    redisUrl: redis?.url,
    instance: randomUUID(),
    clock: Date.now,
    // Nobody reads them here.
    maxQueuedEvents: 1_000_000,
  })
  try {
    await meter.ping()
    for (let index = 0; index < accounts; index++) await meter.mirror(accountStateAt(index))
    let calls = 0
    const next = () => charge(meter, calls++)
    await run(next, { inFlight: 50, amount: 5_000 })
    const results = []
    for (const setting of settings) {
      const figures: Figures[] = []
      for (let round = 0; round < rounds; round++) figures.push(await run(next, setting))
      results.push({ inFlight: setting.inFlight, ...median(figures) })
    }
    console.log(`\n${machine()}\nmedians of ${rounds} rounds; meter: ${meter.kind}\n`)
    console.table(results)
    return { machine: machine(), meter: meter.kind, results }
  } finally {
    await meter.close()
    await redis?.stop()
  }
}

async function run(
  next: () => Promise<void>,
  { inFlight, amount }: { inFlight: number; amount: number },
): Promise<Figures> {
  const times: number[] = []
  let left = amount
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left-- > 0) {
        const sentAt = performance.now()
        await next()
        times.push(performance.now() - sentAt)
      }
    }),
  )
  const seconds = (performance.now() - startedAt) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  times.sort((left, right) => left - right)
  const at = (rank: number) => Number((times[Math.ceil(rank * times.length) - 1] ?? 0).toFixed(3))
  return {
    chargesPerSecond: Math.round(amount / seconds),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    cpuUs: Math.round((user + system) / amount),
  }
}

async function charge(meter: Meter, call: number): Promise<void> {
  const index = call % accounts
  const use: Use = {
    account: accountAt(index),
    grantId: grantIds[index] ?? grantIdAt(index),
    payee,
    amount: price,
    cumulativeAmount: price * BigInt(Math.floor(call / accounts) + 1 + accounts),
    requestId: `bench-${String(call).padStart(16, '0')}`,
    fingerprint: 'bench',
    nowMs: Date.now(),
    settlementMarginSeconds: 600,
    event: { service: 'svc_bench', merchant: 'mer_bench', signature: `0x${'51'.repeat(65)}` },
  }
  const decision = await meter.charge(use)
  if (!decision.ok) throw new Error(`Call ${call} was refused: ${decision.code}`)
  meter.served(decision.ticket)
}

const grantIds = Array.from({ length: accounts }, (_, index) => grantIdAt(index))
