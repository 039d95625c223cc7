import { serve } from '@hono/node-server'
import {
  createDb,
  listChargesBetween,
  listOpenStops,
  loadGrantStates,
  markRefused,
  migrate,
  openIncident,
  readGrantBudgets,
  readSentinelCursor,
  saveGrantStates,
  withGuardianLock,
} from '@protocolbanks/stream-db'
import { createLogger, createStatusApp, runChecks, stopOnSignals } from '@protocolbanks/stream-runtime'
import { v4 } from 'uuid'
import { createPublicClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { loadConfig } from './config.ts'
import { followFeed } from './feed/followFeed.ts'
import { createMetrics } from './metrics.ts'
import { firstRules } from './rules/firstRules.ts'
import { createGrantScorer } from './scoring/grantScorer.ts'
import { createSpendWatchers } from './scoring/spendWatchers.ts'
import { createGuardian } from './stops/guardian.ts'
import { createRefuseGrant } from './stops/refuseGrant.ts'
import { createStopWorker } from './stops/stopWorker.ts'
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

const config = loadConfig()
const logger = createLogger({ service: 'sentinel', level: config.LOG_LEVEL, secrets: config.secretValues })
const clock = Date.now
const now = () => new Date(clock())
const writer = v4()

await migrate({ url: config.DATABASE_URL })
const db = createDb({
  url: config.DATABASE_URL,
  onError: (error) => logger.warn({ reason: error.message }, 'a database connection was lost'),
})
const chain = createPublicClient({ transport: http(config.RPC_URL, { retryCount: 0, timeout: callTimeoutMs }) })
const signer = config.GUARDIAN_KEY && privateKeyToAccount(config.GUARDIAN_KEY)
const gateways = { gatewayUrls: config.GATEWAY_URLS, apiKey: config.GATEWAY_API_KEY }

const cursor = await readSentinelCursor(db)
const startedAt = now()
const seen = createSeenCharges(cursor?.position)
const watch = createWatch({
  rules: {
    ...firstRules,
    mostCallsPerMinute: config.MAX_CALLS_PER_MINUTE,
    rateWarmUpMs: config.WARM_UP_SECONDS * 1_000,
  },
  scorer: createGrantScorer(createSpendWatchers()),
  decimals: config.TOKEN_DECIMALS,
  cooldownMs: config.COOLDOWN_SECONDS * 1_000,
  seen,
  loadMemories: (grantIds) => loadGrantStates(db, grantIds),
  loadBudgets: (grantIds) => readGrantBudgets(db, grantIds),
  clock,
  maxGrants: config.MAX_GRANTS_IN_MEMORY,
  budgetTtlMs,
})
let heardAtMs = clock()
const metrics = createMetrics({ grants: watch.grants, lagSeconds: () => (clock() - heardAtMs) / 1_000 })

const guardian =
  signer &&
  createGuardian({
    db,
    chain,
    chainId: config.CHAIN_ID,
    module: config.SESSION_MODULE,
    signer,
    clock,
    logger,
    stuckMs: config.STUCK_MS,
    maxFeePerGas: config.MAX_FEE_PER_GAS_WEI,
  })
const stops = createStopWorker({
  listOpenStops: (limit) => listOpenStops(db, limit),
  refuse: createRefuseGrant({ ...gateways, timeoutMs: callTimeoutMs }),
  markRefused: (id) => markRefused(db, { id, now: now() }),
  drive:
    guardian &&
    (async (open) => {
      await withGuardianLock(db, guardian.address, () => guardian.drive(open))
    }),
  pollMs: config.POLL_MS,
  logger,
})

const app = createStatusApp({
  readiness: () => runChecks({ postgres: () => db.ping(), feed: checkFeed, chain: checkChain }, readinessTimeoutMs),
  registry: metrics.registry,
})
const server = serve({ fetch: app.fetch, hostname: config.HOST, port: config.PORT }, ({ port }) => {
  logger.info({ port, guardian: signer?.address ?? null, learnsFrom: cursor?.journalUntil ?? null }, 'listening')
})
const stopping = new AbortController()
let savedAtMs = clock()
let journalUntil = cursor?.journalUntil ?? new Date(clock() - config.LEARN_HOURS * 3_600_000)
const working = Promise.all([
  stops.run(stopping.signal),
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
stopOnSignals({ stop, drainMs, logger })

async function* hearFeed(signal: AbortSignal) {
  for await (const line of followFeed({ ...gateways, signal, logger, silenceMs: feedSilenceMs })) {
    heardAtMs = clock()
    for (const { atMs } of line.events) metrics.judged.observe(Math.max(0, heardAtMs - atMs) / 1_000)
    yield line
  }
}

async function take(charges: readonly Charge[]): Promise<void> {
  const found = await watch.take(charges)
  metrics.charges.inc(charges.length)
  for (const one of found) await act(one)
}

/** What the journal told at the very first start is learned from, and not acted upon. */
async function act({ charge, ...judgement }: Found): Promise<void> {
  if (!cursor && charge.atMs < startedAt.getTime()) return
  const { grantId, account, payee, requestId } = charge
  const { rule, action, explanation } = judgement
  const chargedAt = new Date(charge.atMs)
  const { isNew, incident } = await openIncident(db, {
    ...judgement,
    grantId,
    account,
    payee,
    requestId,
    chargedAt,
    now: now(),
  })
  if (!isNew) return
  metrics.incidents.inc({ rule, action })
  logger.warn({ incident: incident.id, grantId, account, rule, action, explanation }, 'found')
  if (action !== 'alert') stops.wake()
}

async function progress(until: Date): Promise<void> {
  journalUntil = until
  seen.forgetBefore(clock() - seenMs)
  if (clock() - savedAtMs >= saveEveryMs) await save()
}

async function save(): Promise<void> {
  savedAtMs = clock()
  const states = watch.changed()
  const putBack = () => watch.putBack(states.map(({ grantId }) => grantId))
  try {
    const saved = await saveGrantStates(db, {
      states,
      journalUntil,
      position: seen.encode(),
      writer,
      writerMs,
      now: now(),
    })
    if (!saved) putBack()
  } catch (error) {
    putBack()
    throw error
  }
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
  await save()
  await new Promise((resolve) => server.close(resolve))
  await db.close()
}
