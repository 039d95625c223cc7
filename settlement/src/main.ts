import { serve } from '@hono/node-server'
import { createBundler, createSponsor, type EntryPoint, streamAccount } from '@protocolbanks/stream-bundler-client'
import {
  claimSettlement,
  createDb,
  leaseDueSettlements,
  listBusyAccounts,
  listClaimable,
  migrate,
  type SettlementWork,
} from '@protocolbanks/stream-db'
import { createVoucherHasher } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { v4 } from 'uuid'
import { createPublicClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { createApp } from './app.ts'
import { loadConfig } from './config.ts'
import { createInclusionWatcher } from './inclusion/inclusionWatcher.ts'
import { createMetrics } from './metrics.ts'
import { runChecks } from './readiness.ts'
import { createSettlementStore } from './worker/settlementStore.ts'
import { type SettleDeps, settleOne } from './worker/settleOne.ts'
import { withLease } from './worker/withLease.ts'
import { createWorker } from './worker/worker.ts'

// Wires settlement: the only place that knows all of its parts.

const drainMs = 12_000
const readinessTimeoutMs = 2_000
/** After a crash another worker takes over within this. It is renewed while one is at work. */
const leaseMs = 30_000
const callTimeoutMs = 8_000
/** One lane of the nonce key for all settlements of an account: they follow each other, and a fresh lane costs gas. */
const lane = 0

const config = loadConfig()
const logger = pino({ level: config.LOG_LEVEL, name: 'settlement' })
const clock = Date.now
const owner = v4()
const chainId = config.CHAIN_ID
const module = config.SESSION_MODULE
const entryPoint: EntryPoint = { version: '0.8', address: config.ENTRY_POINT }

await migrate({ url: config.DATABASE_URL })
const db = createDb({
  url: config.DATABASE_URL,
  onError: (error) => logger.warn({ reason: error.message }, 'a database connection was lost'),
})
const chain = createPublicClient({ transport: http(config.RPC_URL, { retryCount: 0, timeout: callTimeoutMs }) })
const bundler = createBundler({ url: config.BUNDLER_URL, chainId, entryPoint, chain, timeoutMs: callTimeoutMs })
const watcher = createInclusionWatcher({
  chain,
  entryPoint: entryPoint.address,
  pollMs: config.POLL_MS,
  onError: () => logger.warn("the chain's RPC did not answer; looking again"),
})
const deps: SettleDeps = {
  chainId,
  module,
  adapter: streamAccount(entryPoint),
  chain,
  bundler,
  sponsor: createSponsor({
    url: config.PAYMASTER_URL,
    apiKey: config.PAYMASTER_API_KEY,
    chainId,
    entryPoint,
    timeoutMs: callTimeoutMs,
  }),
  watcher,
  settler: privateKeyToAccount(config.SETTLER_KEY),
  hashVoucher: createVoucherHasher({ chainId, module }),
  retryPolicy: { baseMs: config.RETRY_BASE_MS, maxAttempts: config.MAX_ATTEMPTS, random: Math.random },
  inclusionTimeoutMs: config.INCLUSION_TIMEOUT_MS,
  lookbackBlocks: config.LOOKBACK_BLOCKS,
  clock,
  logger,
}

const now = () => new Date(clock())
const worker = createWorker({
  leaseDue: (limit) => leaseDueSettlements(db, { owner, leaseMs, limit, now: now() }),
  listClaimable: (limit) => listClaimable(db, { now: now(), limit, expiryMarginSeconds: config.EXPIRY_MARGIN_SECONDS }),
  listBusyAccounts: (accounts) => listBusyAccounts(db, accounts),
  claim: ({ grantId, trigger }) =>
    claimSettlement(db, { grantId, trigger, lane, leaseOwner: owner, leaseMs, now: now() }),
  settle: (work, signal) => settle(work, signal),
  onResult(result, { settlement }) {
    metrics.results.inc({ outcome: result.outcome, code: 'code' in result ? result.code : '' })
    if (result.outcome !== 'confirmed') return
    metrics.paid.inc(Number(result.paid))
    metrics.seconds.observe((clock() - settlement.createdAt.getTime()) / 1_000)
    const { id, grantId } = settlement
    logger.info({ settlement: id, grantId, paid: result.paid.toString() }, 'confirmed')
  },
  maxInFlight: config.MAX_IN_FLIGHT,
  pollMs: config.POLL_MS,
  logger,
})
const metrics = createMetrics(worker)

function settle(work: SettlementWork, signal: AbortSignal) {
  const store = createSettlementStore(db, { id: work.settlement.id, owner })
  return withLease(store, { leaseMs, clock, signal, logger }, (held) => settleOne(work, store, deps, held))
}

const app = createApp({
  readiness: () =>
    runChecks({ postgres: () => db.ping(), chain: checkChain, bundler: () => bundler.ping() }, readinessTimeoutMs),
  registry: metrics.registry,
})
const server = serve({ fetch: app.fetch, hostname: config.HOST, port: config.PORT }, ({ port }) => {
  logger.info({ port, chainId, module, settler: deps.settler.address, owner }, 'listening')
})
const stopping = new AbortController()
const working = worker.run(stopping.signal)

let stops = 0
/** Begins nothing new; what is in flight is recorded where it stands. At most 12 s. */
async function stop(): Promise<void> {
  if (stops++ > 0) return
  logger.info({ inFlight: worker.inFlight() }, 'stopping')
  stopping.abort()
  setTimeout(() => process.exit(1), drainMs).unref()
  await working
  watcher.close()
  await new Promise((resolve) => server.close(resolve))
  await db.close()
  process.exit(0)
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)

async function checkChain(): Promise<void> {
  const found = await chain.getChainId()
  if (found !== chainId) throw new Error(`The RPC serves chain ${found}; configured is ${chainId}.`)
}
