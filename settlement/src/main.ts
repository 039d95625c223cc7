import { setTimeout } from 'node:timers/promises'
import { serve } from '@hono/node-server'
import {
  adaptersOf,
  createAdapterResolver,
  createBundler,
  createSponsor,
  type EntryPoint,
} from '@protocolbanks/stream-bundler-client'
import {
  chargesOfSettlement,
  claimSettlement,
  confirmClosed as confirmClosedSettlement,
  createDb,
  type DueSettlement,
  getSettlement,
  leaseSettlement,
  listBusyAccounts,
  listClaimable,
  listClosedByReorganisation,
  listDueSettlements,
  maxTraced,
  migrate,
  readFigures,
  recordPayeeAnswers,
  releaseSettlement,
  retakeSettlement,
  type SettlementWork,
  takeDuePayeeBlocks,
} from '@protocolbanks/stream-db'
import { type Address, createVoucherHasher } from '@protocolbanks/stream-protocol'
import {
  createCached,
  createCrashPoints,
  createLogger,
  createStatusApp,
  createTracing,
  outgoingTrace,
  runChecks,
  stopOnSignals,
} from '@protocolbanks/stream-runtime'
import { v4 } from 'uuid'
import { createPublicClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { loadConfig, type TransactionConfig, type UserOperationConfig } from './config.ts'
import { registerFigures } from './figures/figuresMetrics.ts'
import { createInclusionWatcher } from './inclusion/inclusionWatcher.ts'
import { createMetrics } from './metrics.ts'
import { takesTransfer } from './payable/askToken.ts'
import { checkPayees } from './payable/payeeChecker.ts'
import { createTransactionRoute } from './routes/transactionRoute.ts'
import { createTransactionStore } from './routes/transactionStore.ts'
import { createUserOperationRoute } from './routes/userOperationRoute.ts'
import { createSettlementReporter } from './tracing/settlementReporter.ts'
import { traceBundler, traceSponsor, traceWatcher } from './tracing/traceCalls.ts'
import { traceRoute } from './tracing/traceRoute.ts'
import { confirmClosed } from './worker/confirmClosed.ts'
import { firstLine } from './worker/judgeFailure.ts'
import type { Route } from './worker/route.ts'
import { createSettlementStore } from './worker/settlementStore.ts'
import { createWorker } from './worker/worker.ts'

// Wires settlement: the only place that knows all of its parts.

const drainMs = 12_000
const readinessTimeoutMs = 2_000
/** Metrics out of Postgres are at most this old, and cost one query in this time. */
const figuresMaxAgeMs = 5_000
/** After a crash another worker takes over within this. It is renewed while one is at work. */
const leaseMs = 30_000
const callTimeoutMs = 8_000
/** A failed settlement whose account has no free lane is looked at again after this. */
const busyMs = 2_000
/** Blocked payees are asked about this often at most. */
const payeeRoundMs = 2_000
/** Settlements that a reorganisation closed are looked for this often, and for so long: then nothing includes them. */
const closedRoundMs = 3_000
const closedForMs = 3_600_000
const closedAtOnce = 200

const config = loadConfig()
const logger = createLogger({ service: 'settlement', level: config.LOG_LEVEL, secrets: config.secretValues })
const tracing = createTracing({
  service: 'settlement',
  endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
  ratio: config.OTEL_TRACES_SAMPLER_ARG,
  logger,
})
const clock = Date.now
const crashPoint = createCrashPoints(config.CRASH_AT)
const owner = v4()
const chainId = config.CHAIN_ID
const module = config.SESSION_MODULE
const entryPoints: readonly [EntryPoint, ...EntryPoint[]] = [
  { version: '0.8', address: config.ENTRY_POINT },
  ...(config.ENTRY_POINT_07 ? [{ version: '0.7', address: config.ENTRY_POINT_07 } as const] : []),
]
const entryPointAddresses = entryPoints.map(({ address }) => address)

await migrate({ url: config.DATABASE_URL })
const db = createDb({
  url: config.DATABASE_URL,
  onError: (error) => logger.warn({ reason: error.message }, 'a database connection was lost'),
})
const chain = createPublicClient({ transport: http(config.RPC_URL, { retryCount: 0, timeout: callTimeoutMs }) })
const common = {
  chainId,
  module,
  hashVoucher: createVoucherHasher({ chainId, module }),
  retryPolicy: { baseMs: config.RETRY_BASE_MS, maxAttempts: config.MAX_ATTEMPTS, random: Math.random },
  inclusionTimeoutMs: config.INCLUSION_TIMEOUT_MS,
  lookbackBlocks: config.LOOKBACK_BLOCKS,
  storeOf: ({ settlement: { id }, grant: { token } }: SettlementWork) =>
    createSettlementStore(db, { id, owner, token, clock }),
  confirmations: config.CONFIRMATIONS,
  stuckMs: config.STUCK_MS,
  maxFeePerGas: config.MAX_FEE_PER_GAS_WEI,
  crashPoint,
  leaseMs,
  clock,
  logger,
}
const { route, signer, checks, close } =
  config.SETTLEMENT_ROUTE === 'transaction' ? wireTransactions(config) : wireUserOperations(config)

const now = () => new Date(clock())
const reporter = createSettlementReporter({
  tracing,
  async listChargeTraces(id) {
    const charges = await chargesOfSettlement(db, id, { limit: maxTraced, tracedOnly: true })
    return [...new Set(charges.flatMap(({ traceId }) => traceId ?? []))]
  },
  load: (id) => getSettlement(db, id),
  clock,
  logger,
})
const expiryMarginSeconds = config.EXPIRY_MARGIN_SECONDS
const stuckMs = config.STUCK_MS
/** Grants that name another are another worker's. Transactions may be anybody's. */
const settler = config.SETTLEMENT_ROUTE === 'user-operation' ? signer : undefined
const worker = createWorker({
  listDue: (limit) => listDueSettlements(db, { now: now(), limit, expiryMarginSeconds, settler }),
  takeUp,
  listClaimable: (limit) => listClaimable(db, { now: now(), limit, expiryMarginSeconds, settler }),
  listBusyAccounts: (accounts) => listBusyAccounts(db, accounts, { now: now(), stuckMs }),
  async claim({ grantId, trigger }) {
    const work = await claimSettlement(db, { grantId, trigger, leaseOwner: owner, leaseMs, now: now(), stuckMs })
    if (work) crashPoint('settlement.claimed')
    if (work) await reporter.claimed(work)
    return work
  },
  urgencyPolicy: () => ({ now: now(), expiryMarginSeconds }),
  route: traceRoute(route, { tracing, reporter, createId: v4 }),
  onResult(result, { settlement }) {
    metrics.results.inc({ outcome: result.outcome, code: 'code' in result ? result.code : '' })
    if (result.outcome !== 'confirmed') return
    metrics.paid.inc(Number(result.paid))
    metrics.seconds.observe((clock() - settlement.createdAt.getTime()) / 1_000)
  },
  pollMs: config.POLL_MS,
  logger,
})
const metrics = createMetrics(worker)
registerFigures(metrics.registry, {
  clock,
  figures: createCached({
    read: () => readFigures(db),
    maxAgeMs: figuresMaxAgeMs,
    timeoutMs: readinessTimeoutMs,
    clock,
    onError: (error) => logger.warn({ reason: firstLine(error) }, 'the figures for metrics could not be read'),
  }),
})

const app = createStatusApp({
  readiness: () => runChecks({ postgres: () => db.ping(), chain: checkChain, ...checks }, readinessTimeoutMs),
  registry: metrics.registry,
})
const server = serve({ fetch: app.fetch, hostname: config.HOST, port: config.PORT }, ({ port }) => {
  logger.info({ port, chainId, module, route: route.name, signer, owner }, 'listening')
})
const stopping = new AbortController()
const working = Promise.all([
  worker.run(stopping.signal),
  repeat(checkBlockedPayees, payeeRoundMs, stopping.signal),
  repeat(confirmWhatWasClosed, closedRoundMs, stopping.signal),
])

stopOnSignals({ stop, drainMs, logger })

/** Begins nothing new; what is in flight is recorded where it stands. */
async function stop(): Promise<void> {
  logger.info({ inFlight: worker.inFlight() }, 'what is in flight is recorded where it stands')
  stopping.abort()
  await working
  close()
  await new Promise((resolve) => server.close(resolve))
  await db.close()
  await tracing.shutdown()
}

/** Leases what is due, and takes a failed one up again in a lane of its account. */
async function takeUp({ id }: DueSettlement): Promise<SettlementWork | undefined> {
  const work = await leaseSettlement(db, { id, owner, leaseMs, now: now() })
  if (work?.settlement.state !== 'failed') return work
  const retaken = await retakeSettlement(db, { id, owner, now: now(), stuckMs })
  if (retaken === 'busy') await releaseSettlement(db, { id, owner, nextAttemptAt: new Date(clock() + busyMs) })
  return typeof retaken === 'string' ? undefined : retaken
}

async function checkBlockedPayees(): Promise<void> {
  await checkPayees({
    takeDue: (limit) => takeDuePayeeBlocks(db, { now: now(), limit }),
    isPaid: ({ token, payee }) => takesTransfer(chain, token, signer, payee),
    record: (answers) => recordPayeeAnswers(db, answers, now()),
    logger,
  })
}

function confirmWhatWasClosed(): Promise<void> {
  return confirmClosed({
    ...common,
    listClosed: () => {
      const since = new Date(clock() - closedForMs)
      return listClosedByReorganisation(db, { since, limit: closedAtOnce })
    },
    confirm: (id, confirmation) => confirmClosedSettlement(db, id, confirmation),
    chain,
    entryPoints: entryPointAddresses,
  })
}

/** A round that fails is made again. */
async function repeat(round: () => Promise<void>, pauseMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await round().catch((error: unknown) =>
      logger.warn({ round: round.name, reason: firstLine(error) }, 'a round failed'),
    )
    await setTimeout(pauseMs, undefined, { signal }).catch(() => {})
  }
}

async function checkChain(): Promise<void> {
  const found = await chain.getChainId()
  if (found !== chainId) throw new Error(`The RPC serves chain ${found}; configured is ${chainId}.`)
}

/** A way to the chain, who signs there, and what it stands on. */
type Wiring = { route: Route; signer: Address; checks: Record<string, () => Promise<void>>; close(): void }

function wireUserOperations(config: UserOperationConfig): Wiring {
  const { BUNDLER_URL, PAYMASTER_URL, PAYMASTER_API_KEY: apiKey } = config
  const services = entryPoints.map((entryPoint) => {
    const context = { chainId, entryPoint, timeoutMs: callTimeoutMs, headers: outgoingTrace }
    return {
      entryPoint,
      bundler: traceBundler(createBundler({ ...context, url: BUNDLER_URL, chain }), tracing),
      sponsor: traceSponsor(createSponsor({ ...context, url: PAYMASTER_URL, apiKey }), tracing),
    }
  })
  const resolve = createAdapterResolver({ chain, adapters: adaptersOf(entryPoints) })
  const serviceOf = ({ version }: EntryPoint) => {
    const service = services.find(({ entryPoint }) => entryPoint.version === version)
    if (!service) throw new Error(`No EntryPoint v${version} is configured.`)
    return service
  }
  const watcher = createInclusionWatcher({
    chain,
    entryPoints: entryPointAddresses,
    pollMs: config.POLL_MS,
    onError: () => logger.warn("the chain's RPC did not answer; looking again"),
  })
  const settler = privateKeyToAccount(config.SETTLER_KEY)
  return {
    route: createUserOperationRoute({
      ...common,
      chain,
      entryPoints: entryPointAddresses,
      async accessTo(account) {
        const adapter = await resolve(account)
        const { bundler, sponsor } = serviceOf(adapter.entryPoint)
        return { adapter, bundler, sponsor }
      },
      // The bundler knows operations by their hash, whichever EntryPoint they are for.
      isPending: (userOpHash) => serviceOf(entryPoints[0]).bundler.isPending(userOpHash),
      watcher: traceWatcher(watcher, tracing),
      settler,
      neutral: settler.address,
      maxInFlight: config.MAX_IN_FLIGHT,
    }),
    signer: settler.address,
    checks: {
      async bundler() {
        await Promise.all(services.map(({ bundler }) => bundler.ping()))
      },
    },
    close: () => watcher.close(),
  }
}

function wireTransactions(config: TransactionConfig): Wiring {
  const sender = privateKeyToAccount(config.TRANSACTION_KEY)
  const store = createTransactionStore(db, { sender: sender.address, owner, leaseMs, clock })
  return {
    route: createTransactionRoute({
      ...common,
      chain,
      sender,
      store,
      token: config.TOKEN,
      entryPoints: entryPointAddresses,
      pollMs: config.POLL_MS,
      maxAccounts: config.TRANSACTION_MAX_ACCOUNTS,
      maxGas: config.TRANSACTION_MAX_GAS,
    }),
    signer: sender.address,
    checks: {
      async sender() {
        const balance = await chain.getBalance({ address: sender.address })
        if (balance === 0n) throw new Error(`${sender.address} has no ether for gas.`)
      },
    },
    close: () => {},
  }
}
