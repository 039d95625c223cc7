import { randomUUID } from 'node:crypto'
import { serve } from '@hono/node-server'
import { BundlerUnavailableError, createBundler, type EntryPoint } from '@protocolbanks/stream-bundler-client'
import {
  authenticateApiKey,
  bookSponsorship,
  createDb,
  expireSponsorships,
  findGrantByTerms,
  gasOfDay,
  hasScope,
  isDatabaseUnavailable,
  type KnownApiKey,
  listMerchantsByPayee,
  migrate,
  oldestReservation,
  type Reservation,
  type ReservationResult,
  reserveSponsorship,
} from '@protocolbanks/stream-db'
import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import {
  createCached,
  createCrashPoints,
  createLogger,
  createTracing,
  inSpan,
  runChecks,
  stopOnSignals,
  traceServer,
} from '@protocolbanks/stream-runtime'
import { createPublicClient, http } from 'viem'
import { createApp } from './app.ts'
import { loadConfig } from './config.ts'
import { createCostBooker } from './gas/costBooker.ts'
import { poll } from './gas/poll.ts'
import { createMetrics } from './metrics.ts'
import { RpcError, rpcCodes, unavailableError } from './rpc/rpcError.ts'
import { createSponsorMethods } from './rpc/sponsorMethods.ts'
import { createSponsorSigner } from './signature/sponsorSigner.ts'
import { createSponsorService } from './sponsorService.ts'

// Wires the paymaster: the only place that knows all of its parts.

const drainMs = 10_000
const readinessTimeoutMs = 2_000
/** Metrics out of Postgres are at most this old, and cost one query in this time. */
const gasMaxAgeMs = 5_000

const config = loadConfig()
const logger = createLogger({ service: 'paymaster', level: config.LOG_LEVEL, secrets: config.secretValues })
const tracing = createTracing({
  service: 'paymaster',
  endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
  ratio: config.OTEL_TRACES_SAMPLER_ARG,
  logger,
})
const clock = Date.now
const chainId = config.CHAIN_ID
const crashPoint = createCrashPoints(config.CRASH_AT)

await migrate({ url: config.DATABASE_URL })
const db = createDb({
  url: config.DATABASE_URL,
  onError: (error) => logger.warn({ reason: error.message }, 'a database connection was lost'),
})
const metrics = createMetrics({
  gas: createCached({
    read: () => gasOfDay(db, new Date(clock())),
    maxAgeMs: gasMaxAgeMs,
    timeoutMs: readinessTimeoutMs,
    clock,
    onError: (error) => logger.warn({ reason: firstLine(error) }, 'the gas of the day could not be read'),
  }),
  operatorBudgetWei: config.OPERATOR_GAS_BUDGET_WEI_PER_DAY,
})
const chain = createPublicClient({ transport: http(config.RPC_URL, { retryCount: 0, timeout: 5_000 }) })
const { ENTRY_POINT_07, SPONSOR_PAYMASTER_07 } = config
/** A paymaster contract is for one EntryPoint, an EntryPoint for some kinds of accounts. */
const places = await Promise.all([
  openPlace({ version: '0.8', address: config.ENTRY_POINT }, config.SPONSOR_PAYMASTER),
  ...(ENTRY_POINT_07 && SPONSOR_PAYMASTER_07
    ? [openPlace({ version: '0.7', address: ENTRY_POINT_07 }, SPONSOR_PAYMASTER_07)]
    : []),
])

async function openPlace(entryPoint: EntryPoint, paymaster: Address) {
  const url = config.BUNDLER_URL
  const signer = await createSponsorSigner({ chainId, paymaster, privateKey: config.PAYMASTER_SIGNER_KEY })
  const service = createSponsorService({
    chainId,
    entryPoint,
    contracts: {
      module: config.SESSION_MODULE,
      token: config.TOKEN,
      factory: config.ACCOUNT_FACTORY,
      delegate: config.ACCOUNT_DELEGATE,
      safeProxyFactory: config.SAFE_PROXY_FACTORY,
    },
    bounds: { maxFeePerGas: config.MAX_FEE_PER_GAS_WEI, maxPreVerificationGas: config.MAX_PRE_VERIFICATION_GAS },
    ttlSeconds: config.SPONSORSHIP_TTL_SECONDS,
    operatorBudgetWeiPerDay: config.OPERATOR_GAS_BUDGET_WEI_PER_DAY,
    maxOperationsPerAccountPerDay: config.MAX_OPERATIONS_PER_ACCOUNT_PER_DAY,
    signer,
    findGrant: (terms) => findGrantByTerms(db, terms),
    listMerchants: (payees) => listMerchantsByPayee(db, payees),
    reserve,
    estimate: url ? createBundler({ url, chainId, entryPoint, chain }).estimate : undefined,
    clock,
    crashPoint,
  })
  return { entryPoint, paymaster, signer, service }
}

/** The line that leads from an operation to the trace of whoever asked for it. */
function reserve(reservation: Reservation): Promise<ReservationResult> {
  const { userOpHash, sender, kind, maxCostWei } = reservation
  return inSpan(tracing, 'reserve', { 'stream.user_operation.hash': userOpHash }, async () => {
    const result = await reserveSponsorship(db, reservation)
    const outcome = result.ok ? 'reserved' : result.code
    logger.info({ userOpHash, sender, kind, maxCostWei: maxCostWei.toString(), outcome }, 'gas asked for')
    return result
  })
}

/** A key that may ask for gas. */
async function sponsoringKey(key: string): Promise<KnownApiKey | undefined> {
  const found = await authenticateApiKey(db, key)
  return found && hasScope(found.scopes, 'sponsorships:write') ? found : undefined
}

const app = createApp({
  auth: { operatorApiKey: config.OPERATOR_API_KEY, authenticateApiKey: sponsoringKey },
  rpc: {
    methods: createSponsorMethods({
      services: places.map(({ entryPoint, service }) => ({ entryPoint: entryPoint.address, service })),
      chainId,
      onAnswer: (answer) => {
        metrics.answers.inc(answer)
        logger.info(answer, 'answered')
      },
    }),
    onError: toRpcError,
  },
  trace: traceServer({ tracing, createId: randomUUID }),
  readiness: () => runChecks({ postgres: () => db.ping(), chain: checkChain, signer: checkSigner }, readinessTimeoutMs),
  registry: metrics.registry,
})

const stopping = new AbortController()
const booker = createCostBooker({
  chain,
  entryPoints: places.map(({ entryPoint }) => entryPoint.address),
  paymasters: places.map(({ paymaster }) => paymaster),
  oldestReservation: () => oldestReservation(db),
  book: (cost) => bookSponsorship(db, { ...cost, now: new Date(clock()) }),
  expire: (before) => expireSponsorships(db, before),
  onBooked: (costWei) => metrics.bookedWei.inc(Number(costWei)),
  clock,
})
const booking = poll(
  async () => {
    metrics.bookedBlock.set(Number(await booker.step()))
    for (const { entryPoint, paymaster } of places) {
      const deposit = await chain.readContract({
        abi: entryPointAbi,
        address: entryPoint.address,
        functionName: 'balanceOf',
        args: [paymaster],
      })
      metrics.depositWei.set({ entry_point: entryPoint.version }, Number(deposit))
    }
  },
  {
    everyMs: config.POLL_MS,
    signal: stopping.signal,
    onError: (error) => logger.warn({ reason: firstLine(error) }, 'costs could not be booked; trying again'),
  },
)

const server = serve({ fetch: app.fetch, hostname: config.HOST, port: config.PORT }, ({ port }) => {
  const paymasters = places.map(({ paymaster }) => paymaster)
  logger.info({ port, chainId, paymasters, signer: places[0]?.signer.address }, 'listening')
})

stopOnSignals({ stop, drainMs, logger })

/** Finishes open requests and the step of the booker. */
async function stop(): Promise<void> {
  stopping.abort()
  await new Promise((resolve) => server.close(resolve))
  await booking
  await db.close()
  await tracing.shutdown()
}

async function checkChain(): Promise<void> {
  const found = await chain.getChainId()
  if (found !== chainId) throw new Error(`The RPC serves chain ${found}; configured is ${chainId}.`)
}

async function checkSigner(): Promise<void> {
  for (const { paymaster, signer } of places) {
    const contract = { abi: sponsorPaymasterAbi, address: paymaster } as const
    const expected = await chain.readContract({ ...contract, functionName: 'signer' })
    if (expected !== signer.address) {
      throw new Error(`The signer of ${paymaster} is ${expected}; the configured key's is ${signer.address}.`)
    }
  }
}

function toRpcError(error: unknown, method: string): RpcError {
  if (error instanceof BundlerUnavailableError) return unavailableError('The bundler')
  if (error instanceof BaseError) {
    const { code, retryable } = error
    return new RpcError(rpcCodes.refused, error.shortMessage, { code, retryable, details: error.metaMessages })
  }
  // After ours: a bundler's network error underneath would look the same.
  if (isDatabaseUnavailable(error)) return unavailableError('The database')
  logger.error({ method, reason: firstLine(error) }, 'a call failed')
  return new RpcError(rpcCodes.internal, 'Something went wrong on our side.')
}

/** Whole messages of viem name addresses, which carry keys. */
function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 300) : String(error)
}
