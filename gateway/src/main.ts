import { randomBytes, randomUUID } from 'node:crypto'
import { lookup } from 'node:dns'
import { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { createAdaptorServer } from '@hono/node-server'
import { getConnInfo } from '@hono/node-server/conninfo'
import { createDb, migrate, readHeartbeat } from '@protocolbanks/stream-db'
import { createCrashPoints, createLogger, createTracing, runChecks, stopOnSignals } from '@protocolbanks/stream-runtime'
import type { Context } from 'hono'
import { createPublicClient, http } from 'viem'
import { createAnswerStore } from './answers/answerStore.ts'
import { chargingCaller } from './api/chargingCaller.ts'
import { createApi } from './api/createApi.ts'
import { createApp } from './app.ts'
import { createClientHasher } from './clients/clientHasher.ts'
import { loadConfig } from './config.ts'
import { createGatewayCore } from './createGatewayCore.ts'
import { createDiscoveryRoute } from './discovery/createDiscoveryRoute.ts'
import { createMetrics } from './metrics.ts'
import { challengeKeys } from './mpp/challengeKeys.ts'
import { createMppGate } from './mpp/mppGate.ts'
import { clientAddress } from './owners/clientAddress.ts'
import { createOwnerSignIn } from './owners/ownerSignIn.ts'
import { createRateLimit } from './owners/rateLimit.ts'
import { createOwnerSignatureVerifier } from './owners/verifyOwnerSignature.ts'
import type { Chain } from './payment/chain.ts'
import { createChargesApi } from './payment/chargesApi.ts'
import { createReceiptKeysRoute } from './payment/createReceiptKeysRoute.ts'
import { createReceiptSigner } from './payment/createReceiptSigner.ts'
import { paymentMiddleware } from './payment/paymentMiddleware.ts'
import { createProxy } from './proxy/proxy.ts'
import { createUpstreamGuard } from './proxy/upstreamGuard.ts'
import { createReconciler } from './reconciliation/reconciler.ts'
import { createSentinelWatch } from './sentinel/sentinelWatch.ts'
import { createServicesFile } from './services/file/servicesFile.ts'
import { type EndedCall, logCall } from './tracing/logCall.ts'
import { traceJournal } from './tracing/traceJournal.ts'
import { traceRequests } from './tracing/traceRequests.ts'
import { checkEndpointUrl } from './webhooks/endpointUrl.ts'
import { createSecretBox } from './webhooks/secretBox.ts'
import { createWebhookSender } from './webhooks/sendWebhook.ts'
import { createWebhookWorker } from './webhooks/webhookWorker.ts'
import { createExact } from './x402/createExact.ts'
import { createFacilitator } from './x402/facilitator/createFacilitator.ts'
import { createSessionFacilitator } from './x402/facilitator/sessionFacilitator.ts'

// Wires the gateway as a service: the core it shares with embedded gateways, and what is around it.

/** Time that requests in flight have to end when the gateway is told to. */
const drainMs = 10_000
/** Until everything has to be over: requests, what workers are at, the journal, spans. */
const stopMs = 30_000
/** Connections that came at once and are not accepted yet: beyond it they come again after a second, three, seven. */
const maxWaitingConnections = 4_096
const retryWaitMs = 10_000
const readinessTimeoutMs = 2_000
/** What a worker has to write down what came of a webhook before another sends it again. */
const webhookRecordMs = 5_000
/** How long the mirror of the chain may differ before reconciliation says so. */
const mirrorPatienceMs = 5_000
/** USDC's. */
const tokenDecimals = 6

const config = loadConfig()
const logger = createLogger({ service: 'gateway', level: config.LOG_LEVEL, secrets: config.secretValues })
const tracing = createTracing({
  service: 'gateway',
  endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
  ratio: config.OTEL_TRACES_SAMPLER_ARG,
  logger,
})
const clock = Date.now
const sentinel = createSentinelWatch({
  readHeartbeat: () => readHeartbeat(db),
  clock,
  silentSeconds: config.SENTINEL_SILENT_SECONDS,
})
const metrics = createMetrics({ chainAgeMs: () => core.chainAgeMs(), sentinelSilenceMs: sentinel.silenceMs })
const crashPoint = createCrashPoints(config.CRASH_AT)
const instance = randomUUID()
const chain: Chain = {
  chainId: config.CHAIN_ID,
  module: config.SESSION_MODULE,
  settler: config.SETTLER_ADDRESS,
  token: config.TOKEN,
  entryPoint: config.ENTRY_POINT,
}

await migrate({ url: config.DATABASE_URL })
const onError = (err: Error) => logger.warn({ err }, 'a database connection was lost')
const db = createDb({ url: config.DATABASE_URL, onError })
// Connections of its own: signs of life must not wait behind anything.
const recordsDb = createDb({ url: config.DATABASE_URL, maxConnections: 3, onError })
const client = createPublicClient({ transport: http(config.RPC_URL, { batch: true, timeout: 5_000 }), cacheTime: 0 })
const answers = createAnswerStore({ maxBytes: config.MAX_ANSWER_BYTES, ttlMs: 600_000 })
const receiptSigner = config.RECEIPT_KEY && createReceiptSigner(config.RECEIPT_KEY)
const exactDb = createDb({ url: config.DATABASE_URL, maxConnections: 8, onError })
const exact =
  config.RELAYER_KEY === undefined
    ? undefined
    : createExact({
        db: exactDb,
        chain,
        client,
        relayerKey: config.RELAYER_KEY,
        factories: config.EXACT_FACTORIES,
        maxFeePerGas: config.MAX_FEE_PER_GAS_WEI,
        settleTimeoutMs: config.EXACT_SETTLE_TIMEOUT_SECONDS * 1_000,
        stuckMs: config.EXACT_STUCK_SECONDS * 1_000,
        maxActive: config.EXACT_MAX_ACTIVE,
        retryWaitMs,
        owner: instance,
        answers,
        receiptSigner,
        clock,
        logger,
        metrics: metrics.registry,
        crashPoint,
      })
const core = createGatewayCore({
  db,
  recordsDb,
  redisUrl: config.REDIS_URL,
  chain,
  client,
  startBlock: config.START_BLOCK,
  indexerPollMs: config.INDEXER_POLL_MS,
  maxChainAgeMs: config.MAX_CHAIN_STALENESS_SECONDS * 1_000,
  settlementMarginSeconds: config.SETTLEMENT_MARGIN_SECONDS,
  operatorCredit: {
    maxPerGrant: config.CREDIT_PER_GRANT_ATOMIC,
    maxPerAccount: config.CREDIT_PER_ACCOUNT_ATOMIC,
  },
  maxGrants: config.MAX_GRANTS_IN_MEMORY,
  maxLedgerEvents: config.MAX_LEDGER_EVENTS,
  answers,
  retryWaitMs,
  otherSchemes: exact?.gate,
  receiptSigner,
  instance,
  clock,
  logger,
  metrics: metrics.registry,
  onJournalled: traceJournal(tracing),
  onLimit: (limit) => metrics.limitRefusals.inc({ limit }),
  refreshAlso: sentinel.refresh,
  crashPoint: config.CRASH_AT === undefined ? undefined : crashPoint,
})
const { meter, mirror, services, gate } = core
// Connections of its own: sums over the journal take long, and paid calls must not wait for them.
const reconcilerDb = createDb({ url: config.DATABASE_URL, maxConnections: 2, statementTimeoutMs: 30_000, onError })
const reconciler = createReconciler({
  db: reconcilerDb,
  client,
  meter,
  module: chain.module,
  token: chain.token,
  chainId: chain.chainId,
  clock,
  meterPatienceMs: config.RECONCILE_PATIENCE_SECONDS * 1_000,
  mirrorPatienceMs: Math.min(mirrorPatienceMs, config.RECONCILE_PATIENCE_SECONDS * 1_000),
  owner: instance,
  intervalMs: config.RECONCILE_INTERVAL_SECONDS * 1_000,
  logger,
  metrics: metrics.registry,
})
const secrets = config.WEBHOOK_ENCRYPTION_KEYS && createSecretBox(config.WEBHOOK_ENCRYPTION_KEYS)
const urlPolicy = { allowPrivateNetworks: config.WEBHOOK_ALLOW_PRIVATE_NETWORKS, lookup }
const webhookDb = createDb({ url: config.DATABASE_URL, maxConnections: 4, onError })
const webhooks = createWebhookWorker({
  db: webhookDb,
  secrets,
  send: createWebhookSender({ ...urlPolicy, timeoutMs: config.WEBHOOK_TIMEOUT_MS }),
  leaseMs: config.WEBHOOK_TIMEOUT_MS + webhookRecordMs,
  keptMs: config.WEBHOOK_RETENTION_DAYS * 86_400_000,
  clock,
  random: Math.random,
  createLeaseId: randomUUID,
  logger,
  metrics: metrics.registry,
})
const stopping = new AbortController()
const serviceOf = (path: string) => services.match(path)
const onOutcome = (outcome: string, call: EndedCall) => {
  metrics.calls.inc({ outcome })
  logCall(logger, outcome, call)
}
const publicUrl = config.PUBLIC_URL ?? `http://${config.HOST}:${config.PORT}`
const addressOf = (c: Context) =>
  clientAddress({
    remote: getConnInfo(c).remote.address,
    forwardedFor: c.req.header('x-forwarded-for'),
    trustedHops: config.TRUSTED_PROXY_HOPS,
  })
const hashClient = config.CLIENT_HASH_KEY === undefined ? undefined : createClientHasher(config.CLIENT_HASH_KEY)
const ownerOrigins = config.OWNER_ORIGINS ?? [new URL(publicUrl).origin]
const ownerSignIn = createOwnerSignIn({
  origins: ownerOrigins,
  sessionTtlMs: config.OWNER_SESSION_SECONDS * 1_000,
  verifySignature: createOwnerSignatureVerifier(client, { maxAtOnce: 8, maxWaiting: 64 }),
  clientOf: addressOf,
  secret: config.OPERATOR_API_KEY,
  clock,
  perMinute: config.OWNER_SIGN_INS_PER_MINUTE,
})
const upstreams = createUpstreamGuard({
  allowedHosts: config.UPSTREAM_ALLOWED_HOSTS,
  allowPrivateNetworks: config.UPSTREAM_ALLOW_PRIVATE_NETWORKS,
  lookup,
})
const mppSecrets = config.MPP_SECRETS ?? (config.RELAYER_KEY && { current: config.RELAYER_KEY, former: [] })
const paidGate =
  exact && mppSecrets
    ? createMppGate({
        gate,
        exact: exact.gate,
        chain,
        keys: challengeKeys(mppSecrets, chain),
        realm: new URL(publicUrl).host,
        clock,
        randomBytes,
      })
    : gate
const servicesFile =
  config.SERVICES_FILE === undefined
    ? undefined
    : createServicesFile({
        path: config.SERVICES_FILE,
        db,
        token: chain.token,
        tokenDecimals,
        minExactPrice: config.EXACT_MIN_PRICE_ATOMIC,
        logger,
        onApplied: services.refresh,
        onState: (isInvalid) => metrics.servicesFileInvalid.set(isInvalid ? 1 : 0),
      })
const charges = createChargesApi({
  gate,
  services,
  merchantOf: async (authorization) => (await chargingCaller(db, authorization))?.merchantId ?? undefined,
  createTicketId: randomUUID,
  outcomeTimeoutMs: 60_000,
  hashClient,
  onOutcome,
})
const app = createApp({
  ownerOrigins,
  api: createApi({
    db,
    meter,
    clock,
    logger,
    operatorApiKey: config.OPERATOR_API_KEY,
    chain,
    charges,
    freshness: core.indexer.freshness,
    mirrorAccount: mirror.mirrorAccount,
    services: { invalidate: services.refresh },
    stopping: stopping.signal,
    minExactPrice: config.EXACT_MIN_PRICE_ATOMIC,
    checkUpstream: upstreams.check,
    tokenDecimals,
    webhooks: { secrets, checkUrl: (url) => checkEndpointUrl(url, urlPolicy) },
    ownerSignIn,
    receiptSigner,
    requestsPerMinute: config.API_REQUESTS_PER_MINUTE,
  }),
  charges,
  payment: paymentMiddleware({
    gate: paidGate,
    serviceOf,
    findService: (path) => services.findAnew(() => serviceOf(path)),
    publicUrl,
    clientOf: hashClient && ((c) => hashClient(addressOf(c))),
    onOutcome,
    onMetered(outcome, { service, ticket }) {
      metrics.meteredCalls.inc({ outcome })
      if (outcome !== 'unmeasured') return
      const { requestId } = ticket ?? {}
      logger.warn({ service: service.id, requestId }, 'an answer did not say what it used: what was held is charged')
    },
  }),
  facilitator: config.FACILITATOR_ACCESS === 'off' ? undefined : createFacilitatorApp(config.FACILITATOR_ACCESS),
  discovery: createDiscoveryRoute(services, { publicUrl, chain, takesExact: exact !== undefined }, clock),
  receiptKeys: createReceiptKeysRoute(receiptSigner, config.RECEIPT_PUBLIC_KEYS),
  proxy: createProxy(upstreams),
  trace: traceRequests({ tracing, clock, createId: randomUUID }),
  readiness: () => runChecks(core.checks, readinessTimeoutMs),
  notes: () => ({ sentinel: sentinel.note() }),
  registry: metrics.registry,
  logger,
})

await servicesFile?.applyAtStart()
// Until it knows what is served, every paid path would be an unknown one.
await services.refresh()
const workers = [
  core.run(stopping.signal),
  reconciler.run(stopping.signal),
  webhooks.run(stopping.signal),
  servicesFile?.run(stopping.signal),
]
const stopExact = new AbortController()
const relaying = exact?.run(stopExact.signal)
const stopJournal = new AbortController()
const writing = core.writeJournal(stopJournal.signal)
const server = createAdaptorServer({ fetch: app.fetch })
server.listen({ host: config.HOST, port: config.PORT, backlog: maxWaitingConnections }, () =>
  logger.info({ port: config.PORT, meter: meter.kind, chainId: chain.chainId }, 'the gateway listens'),
)
// A client that keeps its connection would hold the gateway back from stopping.
if (server instanceof Server) {
  server.prependListener('request', (_request, response) => {
    if (stopping.signal.aborted) response.setHeader('connection', 'close')
  })
}
stopOnSignals({ stop, drainMs: stopMs, logger })

function createFacilitatorApp(access: 'keys' | 'open') {
  return createFacilitator({
    chain,
    schemes: [
      createSessionFacilitator({
        chain,
        gate,
        grants: core.grants,
        meter,
        services,
        mirrorAccount: mirror.restoreAccount,
      }),
      ...(exact ? [exact.createFacilitator({ minAmount: config.EXACT_MIN_PRICE_ATOMIC })] : []),
    ],
    relayer: exact?.relayer.address,
    receiptSigner,
    access,
    callerOf: (authorization) => chargingCaller(db, authorization),
    clientOf: (c) => addressOf(c) ?? 'unknown',
    limit: createRateLimit({
      max: config.FACILITATOR_REQUESTS_PER_MINUTE,
      windowMs: 60_000,
      maxKeys: 10_000,
      clock,
    }),
    maxAtOnce: config.EXACT_MAX_ACTIVE,
  })
}

/** Lets requests end, then journals what they charged. */
async function stop(): Promise<void> {
  stopping.abort()
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  await Promise.race([closed, delay(drainMs, undefined, { ref: false })])
  await Promise.all(workers)
  stopExact.abort()
  await relaying
  stopJournal.abort()
  await writing
  await meter.close()
  await recordsDb.close()
  await reconcilerDb.close()
  await webhookDb.close()
  await exactDb.close()
  await db.close()
  await tracing.shutdown()
}
