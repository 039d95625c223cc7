import { serve } from '@hono/node-server'
import {
  closeQuietIncidents,
  createDb,
  type Incident,
  isDatabaseUnavailable,
  liftHold,
  listBreakerViews,
  listChargesBetween,
  listOpenStops,
  loadGrantStates,
  markRefused,
  markStopImpossible,
  migrate,
  moveBreaker,
  readGrantBudgets,
  readSentinelCursor,
  recordHeartbeat,
  refreshAccepted,
  repeatStop,
  requestStoppedSettlement,
  revokeStopped,
  saveGrantStates,
  spentByGrants,
  stopRejected,
  withGuardianLock,
} from '@protocolbanks/stream-db'
import {
  createLogger,
  createStatusApp,
  createTracing,
  rootOf,
  runChecks,
  stopOnSignals,
} from '@protocolbanks/stream-runtime'
import { v4 } from 'uuid'
import { createPublicClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { alertOptionsOf } from './alerts/alertConfig.ts'
import { createAlerts } from './alerts/createAlerts.ts'
import { registerBreakerMetrics } from './breaker/breakerMetrics.ts'
import { createBreakerWorker } from './breaker/breakerWorker.ts'
import { createProbation } from './breaker/probation.ts'
import { loadConfig } from './config.ts'
import { followFeed } from './feed/followFeed.ts'
import { createMetrics } from './metrics.ts'
import { createOwnRules } from './ownRules/createOwnRules.ts'
import { firstRules } from './rules/firstRules.ts'
import { createGrantScorer } from './scoring/grantScorer.ts'
import { createSpendWatchers } from './scoring/spendWatchers.ts'
import { createGuardian } from './stops/guardian.ts'
import { createGuardianSigner } from './stops/guardianSigner.ts'
import { createRefuseAtOnce } from './stops/refuseAtOnce.ts'
import { createAdmitGrant, createRefuseGrant } from './stops/refuseGrant.ts'
import { createStopWorker } from './stops/stopWorker.ts'
import { createRecorder } from './watch/createRecorder.ts'
import { type Charge, createWatch, type Found } from './watch/createWatch.ts'
import { followCharges } from './watch/followCharges.ts'
import { createSeenCharges } from './watch/seenCharges.ts'

// Wires the sentinel: the only place that knows all of its parts.

const drainMs = 10_000
const readinessTimeoutMs = 2_000
const callTimeoutMs = 5_000
/** Another sentinel writes what is remembered when this one has not for so long. */
const writerMs = 30_000
const saveEveryMs = 10_000
const budgetTtlMs = 15_000
/** Charges that may still be told again, by the feed when it is read anew. */
const seenMs = 600_000
const feedSilenceMs = 3_000
const heartbeatMs = 5_000
const breakersAtOnce = 500
/** After a stop, in which the journal learns of what was charged before it. */
const refreshAcceptedMs = 600_000

const config = loadConfig()
const logger = createLogger({ service: 'sentinel', level: config.LOG_LEVEL, secrets: config.secretValues })
const tracing = createTracing({
  service: 'sentinel',
  endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
  ratio: config.OTEL_TRACES_SAMPLER_ARG,
  logger,
})
const clock = Date.now
const now = () => new Date(clock())
const writer = v4()

await migrate({ url: config.DATABASE_URL })
const db = createDb({
  url: config.DATABASE_URL,
  onError: (error) => logger.warn({ reason: error.message }, 'a database connection was lost'),
})
const chain = createPublicClient({ transport: http(config.RPC_URL, { retryCount: 0, timeout: callTimeoutMs }) })
const signer =
  config.GUARDIAN_KEY &&
  createGuardianSigner(privateKeyToAccount(config.GUARDIAN_KEY), {
    chainId: config.CHAIN_ID,
    module: config.SESSION_MODULE,
  })
const gateways = { gatewayUrls: config.GATEWAY_URLS, apiKey: config.GATEWAY_API_KEY }
const vouchers = { policy: config.VOUCHER_POLICY, settleFirstMs: config.SETTLE_FIRST_SECONDS * 1_000 }

const cursor = await readSentinelCursor(db)
const startedAt = now()
const seen = createSeenCharges(cursor?.position)
const rules = {
  ...firstRules,
  mostCallsPerMinute: config.MAX_CALLS_PER_MINUTE,
  rateWarmUpMs: config.WARM_UP_SECONDS * 1_000,
}
const judging = { rules, scorer: createGrantScorer(createSpendWatchers()), decimals: config.TOKEN_DECIMALS }
const ownRules = createOwnRules({
  ...judging,
  ...gateways,
  timeoutMs: callTimeoutMs,
  db,
  clock,
  owner: writer,
  logger,
  pollMs: config.POLL_MS,
})
await ownRules.load()
const watch = createWatch({
  ...judging,
  ownRules,
  cooldownMs: config.COOLDOWN_SECONDS * 1_000,
  seen,
  loadMemories: (grantIds) => loadGrantStates(db, grantIds),
  loadBudgets: (grantIds) => readGrantBudgets(db, grantIds),
  clock,
  maxGrants: config.MAX_GRANTS_IN_MEMORY,
  budgetTtlMs,
  onStaleBudgets: (err) => logger.debug({ err }, 'budgets cannot be read; those that were read go on'),
})
const recorder = createRecorder<Found>({ record: act, isOutage: isDatabaseUnavailable, logger })
let heardAtMs = clock()
let saidSoAtMs = 0
const metrics = createMetrics({
  grants: watch.grants,
  lagSeconds: () => (clock() - heardAtMs) / 1_000,
  rules: ownRules.rules,
  rulesAgeSeconds: ownRules.ageSeconds,
})

const guardian =
  signer &&
  createGuardian({
    db,
    chain,
    module: config.SESSION_MODULE,
    signer,
    clock,
    logger,
    stuckMs: config.STUCK_MS,
    maxFeePerGas: config.MAX_FEE_PER_GAS_WEI,
    maxGas: config.STOPS_MAX_GAS,
  })
const atOnce = createRefuseAtOnce({ ...gateways, timeoutMs: callTimeoutMs, clock, logger })
const stops = createStopWorker({
  listOpenStops: (limit, where) => listOpenStops(db, limit, where),
  refuse: createRefuseGrant({ ...gateways, timeoutMs: callTimeoutMs }),
  markRefused: (id) => markRefused(db, { id, now: now() }),
  settleFirst: (grantId) => requestStoppedSettlement(db, grantId),
  alone: (work) => (guardian ? withGuardianLock(db, guardian.address, work) : work()),
  drive: guardian?.drive,
  markImpossible: (id) => markStopImpossible(db, { id, errorCode: 'guardian.missing', now: now() }),
  clock,
  pollMs: config.POLL_MS,
  logger,
})
const probation = createProbation({
  rules,
  decimals: config.TOKEN_DECIMALS,
  loadSpent: (grantIds) => spentByGrants(db, grantIds),
})
const admit = createAdmitGrant({ ...gateways, timeoutMs: callTimeoutMs })
const breakers = createBreakerWorker({
  listViews: (page) => listBreakerViews(db, page),
  move(breaker, { to, why }, at) {
    const move = { breaker, why, now: at }
    if (to === 'revoke') return revokeStopped(db, move)
    if (to === 'stop_again') return repeatStop(db, { ...move, stopId: breaker.stop.id })
    return moveBreaker(db, { ...move, to })
  },
  lift: (grantId) => liftHold(db, { grantId, now }, admit),
  stopRejected: () => stopRejected(db, { vouchers, now: now(), limit: breakersAtOnce }),
  refreshAccepted: () => refreshAccepted(db, new Date(clock() - refreshAcceptedMs)),
  closeQuiet() {
    const before = new Date(clock() - config.QUIET_HOURS * 3_600_000)
    return closeQuietIncidents(db, { before, now: now(), limit: breakersAtOnce })
  },
  onProbation: (grants) => probation.set(grants),
  wake: stops.wake,
  policy: {
    halfOpenMs: config.HALF_OPEN_SECONDS * 1_000,
    revokeAfterStops: config.REVOKE_AFTER_STOPS,
    revokeAtPercent: config.REVOKE_AT_PERCENT,
  },
  revokeWithinMs: config.REVOKE_WITHIN_HOURS * 3_600_000,
  clock,
  pollMs: config.POLL_MS,
  logger,
})

const alerts = createAlerts({
  ...alertOptionsOf(config),
  db,
  clock,
  random: Math.random,
  createId: v4,
  registry: metrics.registry,
  logger,
  decimals: config.TOKEN_DECIMALS,
})
registerBreakerMetrics(metrics.registry, { breakers: breakers.counts, stopsWaiting: stops.waiting })

const app = createStatusApp({
  readiness: () => runChecks({ postgres: () => db.ping(), feed: checkFeed, chain: checkChain }, readinessTimeoutMs),
  notes: alerts.notes,
  registry: metrics.registry,
})
const server = serve({ fetch: app.fetch, hostname: config.HOST, port: config.PORT }, ({ port }) => {
  logger.info({ port, guardian: signer?.address ?? null, learnsFrom: cursor?.journalUntil ?? null }, 'listening')
})
const stopping = new AbortController()
let savedAtMs = clock()
let journalUntil = cursor?.journalUntil ?? new Date(clock() - config.LEARN_HOURS * 3_600_000)
const recording = new AbortController()
const working = Promise.all([
  stops.run(stopping.signal),
  ownRules.run(stopping.signal),
  breakers.run(stopping.signal),
  alerts.run(stopping.signal),
  followCharges(
    {
      feed: hearFeed,
      listChargesBetween: (range) => listChargesBetween(db, range),
      take,
      onProgress: progress,
      clock,
      logger,
    },
    journalUntil,
    stopping.signal,
  ),
])
const recorded = recorder.run(recording.signal)
stopOnSignals({ stop, drainMs, logger })

async function* hearFeed(signal: AbortSignal) {
  for await (const line of followFeed({ ...gateways, signal, logger, silenceMs: feedSilenceMs })) {
    heardAtMs = clock()
    for (const { atMs } of line.events) metrics.judged.observe(Math.max(0, heardAtMs - atMs) / 1_000)
    yield line
  }
}

async function take(charges: readonly Charge[]): Promise<void> {
  const judged = [...(await watch.take(charges)), ...probation.judge(charges)]
  const found = judged.filter((one) => !probation.isFromBefore(one))
  metrics.charges.inc(charges.length)
  // Not waited for: what is recorded below goes the whole way, and nobody is served meanwhile.
  void atOnce.refuse(found.filter((one) => !isLearned(one.charge) && isStop(one)).map(({ charge }) => charge))
  await recorder.add(found)
}

function isStop({ action }: Found): boolean {
  return action === 'freeze' || action === 'revoke'
}

/** What the journal told at the very first start is learned from, and not acted upon. */
function isLearned({ atMs }: Charge): boolean {
  return !cursor && atMs < startedAt.getTime()
}

async function act({ charge, ...judgement }: Found): Promise<void> {
  if (isLearned(charge)) return
  const { grantId, account, payee, requestId } = charge
  const { rule, action, explanation } = judgement
  const chargedAt = new Date(charge.atMs)
  const {
    isNew,
    incident,
    stops: toStop,
  } = await ownRules.open(judgement, {
    ...judgement,
    grantId,
    account,
    payee,
    requestId,
    chargedAt,
    vouchers,
    now: now(),
  })
  if (toStop) stops.wake()
  if (!isNew) return
  trace(incident, charge)
  // Own rules are without number.
  metrics.incidents.inc({ rule: judgement.ruleId === null ? rule : 'own', action })
  logger.warn({ incident: incident.id, grantId, account, rule, action, explanation }, 'found')
}

/** One span, from the charge to the record. Its trace has the incident's own id. */
function trace({ id, rule, action }: Incident, { grantId, atMs }: Charge): void {
  const traceId = id.slice('inc_'.length)
  const root = {
    in: rootOf(traceId, { isSampled: tracing.isSampled(traceId) }),
    isRoot: true,
    startTimeMs: atMs,
  } as const
  tracing.start('incident', { ...root, attributes: { incident: id, grant: grantId, rule, action } }).end()
}

async function progress(until: Date): Promise<void> {
  journalUntil = until
  seen.forgetBefore(clock() - seenMs)
  await sayThatItHears()
  if (clock() - savedAtMs >= saveEveryMs) await save()
}

/** For the gateways, which tell their operator when nobody watches. */
async function sayThatItHears(): Promise<void> {
  if (clock() - heardAtMs > 2 * feedSilenceMs || clock() - saidSoAtMs < heartbeatMs) return
  saidSoAtMs = clock()
  await recordHeartbeat(db, now())
}

/** Together with the cursor, which says that everything before it is recorded. */
async function save(): Promise<void> {
  if (recorder.waiting > 0) return
  savedAtMs = clock()
  const until = journalUntil
  await watch.save(async (snapshot) => {
    if (recorder.waiting > 0) return false
    return saveGrantStates(db, { ...snapshot, journalUntil: until, writer, writerMs, now: now() })
  })
}

async function checkFeed(): Promise<void> {
  if (clock() - heardAtMs > 2 * feedSilenceMs)
    throw new Error('No gateway tells what is charged; the hard limits hold.')
}

async function checkChain(): Promise<void> {
  const found = await chain.getChainId()
  if (found !== config.CHAIN_ID) throw new Error(`The RPC serves chain ${found}; configured is ${config.CHAIN_ID}.`)
}

/** What is remembered is saved; stops go on with whoever comes next. */
async function stop(): Promise<void> {
  stopping.abort()
  await working
  recording.abort()
  await recorded
  await save()
  await new Promise((resolve) => server.close(resolve))
  await db.close()
  await tracing.shutdown()
}
