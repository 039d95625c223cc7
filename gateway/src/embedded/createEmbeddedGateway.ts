import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  createDb,
  ensureChannel,
  getGrant,
  listAllServices,
  listCreditDebtors,
  migrate,
  requestExposedSettlements,
} from '@protocolbanks/stream-db'
import { createVoucherHasher, parseAmount } from '@protocolbanks/stream-protocol'
import { createLogger, runChecks } from '@protocolbanks/stream-runtime'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { Registry } from 'prom-client'
import { createPublicClient, http } from 'viem'
import { createAnswerStore } from '../answers/answerStore.ts'
import { createExposureKeeper } from '../exposure/exposureKeeper.ts'
import { createGrantDirectory } from '../grants/grantDirectory.ts'
import { createAccountMirror } from '../indexer/accountMirror.ts'
import { createIndexer } from '../indexer/indexer.ts'
import { createJournal } from '../journal/createJournal.ts'
import { createMeterRecords } from '../journal/createMeterRecords.ts'
import { createJournalWriter } from '../journal/journalWriter.ts'
import { createMeter } from '../meter/createMeter.ts'
import type { Chain } from '../payment/chain.ts'
import { createChargesApi } from '../payment/chargesApi.ts'
import { createPaymentGate } from '../payment/paymentGate.ts'
import { createServiceTable } from '../services/serviceTable.ts'
import { unavailableProblem } from '../unavailable.ts'
import { type EmbeddedMerchant, ensureMerchant } from './ensureMerchant.ts'

export type EmbeddedGatewayOptions = EmbeddedMerchant & {
  /** Of the merchant's own Postgres: grants, the journal, what settlement reads. */
  databaseUrl: string
  /** Of the merchant's own Redis. Without it the meter lives in this process, which must then be the only one. */
  redisUrl?: string | undefined
  rpcUrl: string
  chain: Chain
  /** The first block that can hold an event of the module. 0 by default. */
  startBlock?: bigint | undefined
  /** On-chain state is never served older than this. 30 by default. */
  maxChainStalenessSeconds?: number | undefined
  /** A grant is no longer served this long before it ends. 600 by default. */
  settlementMarginSeconds?: number | undefined
  indexerPollMs?: number | undefined
  logger?: Logger | undefined
  /** Where its metrics go; the same as the gateway's (docs/metrics.md). */
  registry?: Registry | undefined
}

export type EmbeddedGateway = {
  /** For `new PBStream({ ...connection, service, ratePerCall })`: as a gateway elsewhere, but without a network. */
  connection: { apiKey: string; gatewayUrl: string; fetch: typeof fetch }
  /** `ok`, or what is wrong in one sentence, of Postgres, the meter and the chain; for the merchant's own readiness page. */
  readiness(): Promise<Record<'database' | 'meter' | 'chain', string>>
  /** Takes nothing new, and journals what was charged. */
  stop(): Promise<void>
}

/** Never left: the requests to it are answered in this process. */
const gatewayUrl = 'http://embedded-gateway.invalid'
const tokenDecimals = 6
const refreshMs = 1_000
/** A charge whose outcome nobody reported within this time was served. */
const outcomeTimeoutMs = 60_000
const requestRetentionMs = 600_000
const retryWaitMs = 10_000
const checkTimeoutMs = 2_000
const maxAnswerBytes = 16 * 1024 * 1024
const maxGrants = 100_000
const maxLedgerEvents = 100_000

/**
 * The gateway inside a merchant's own process: gate, meter, mirror of the chain and journal, over their own Postgres and
 * Redis. What it charges is settled by the settlement service over the same Postgres. See docs/adr/0009.
 *
 * @example
 * const gateway = await createEmbeddedGateway({ databaseUrl, redisUrl, rpcUrl, chain, merchant, services })
 * const stream = new PBStream({ ...gateway.connection, service: 'weather', ratePerCall: '0.01' })
 * @throws when Postgres cannot be reached, ServiceTakenError, InvalidAmountError
 */
export async function createEmbeddedGateway(options: EmbeddedGatewayOptions): Promise<EmbeddedGateway> {
  const { chain, databaseUrl: url, maxChainStalenessSeconds = 30, settlementMarginSeconds = 600 } = options
  for (const { price } of options.services) parseAmount(price, tokenDecimals)
  const registry = options.registry ?? new Registry()
  const secrets = [url, options.redisUrl, options.rpcUrl].filter((secret) => secret !== undefined)
  const logger = options.logger ?? createLogger({ service: 'gateway', level: 'warn', secrets })
  const clock = Date.now
  const instance = randomUUID()
  const staleAfterMs = maxChainStalenessSeconds * 1_000

  await migrate({ url })
  const onError = (err: Error) => logger.warn({ err }, 'a database connection was lost')
  const db = createDb({ url, onError })
  // Connections of its own: signs of life must not wait behind anything.
  const recordsDb = createDb({ url, maxConnections: 3, onError })
  const merchantId = await ensureMerchant(db, options, { token: chain.token, decimals: tokenDecimals })

  const journal = createJournal({
    db,
    clock,
    logger,
    hashVoucher: createVoucherHasher(chain),
    ownUsage: (eventId) => meter.ownUsage?.(eventId),
    metrics: registry,
  })
  const meter = createMeter({
    redisUrl: options.redisUrl,
    instance,
    clock,
    durability: {
      records: createMeterRecords({ db: recordsDb, journal, instance }),
      logger,
      monotonicClock: () => performance.now(),
      maxLedgerEvents,
      metrics: registry,
    },
  })
  const mirror = createAccountMirror({ db, meter, token: chain.token, clock, logger })
  const client = createPublicClient({ transport: http(options.rpcUrl, { batch: true, timeout: 5_000 }), cacheTime: 0 })
  const indexer = createIndexer({
    db,
    client,
    meter,
    mirror,
    module: chain.module,
    token: chain.token,
    chainId: chain.chainId,
    startBlock: options.startBlock ?? 0n,
    clock,
    logger,
    pollMs: options.indexerPollMs ?? 1_000,
    staleAfterMs,
    metrics: registry,
  })
  const journalWriter = createJournalWriter({ journal, meter, clock, logger, metrics: registry })
  const services = createServiceTable(() => listAllServices(db), clock)
  const exposure = createExposureKeeper({
    meter,
    limited: services.limited,
    listDebtors: (page) => listCreditDebtors(db, page),
    mirrorAccount: mirror.mirrorAccount,
    requestSettlements: () => requestExposedSettlements(db, { now: new Date(clock()), token: chain.token, limit: 100 }),
    clock,
    logger,
    metrics: registry,
  })
  const gate = createPaymentGate({
    chain,
    meter,
    grants: createGrantDirectory({
      load: (grantId) => getGrant(db, grantId),
      openChannel: ({ proof, ...channel }) => ensureChannel(db, { ...channel, payeeProof: proof }),
      maxGrants,
      unknownTtlMs: 1_000,
    }),
    answers: createAnswerStore({ maxBytes: maxAnswerBytes, ttlMs: requestRetentionMs }),
    mirrorAccount: mirror.restoreAccount,
    chainAgeMs,
    maxChainAgeMs: staleAfterMs,
    instance,
    settlementMarginSeconds,
    makeRoom: exposure.makeRoom,
    retryWaitMs,
    now: clock,
  })
  const charges = createChargesApi({
    gate,
    services,
    merchantOf: async () => merchantId,
    createTicketId: randomUUID,
    outcomeTimeoutMs,
  })
  const app = new Hono().route('/api/charges', charges)
  app.onError((error) => {
    const unavailable = unavailableProblem(error)
    if (!unavailable) logger.error({ err: error }, 'a charge failed')
    return unavailable ?? new Response(null, { status: 500 })
  })

  await services.refresh()
  const stopping = new AbortController()
  const workers = [indexer.run(stopping.signal), exposure.run(stopping.signal), refreshServices(stopping.signal)]
  const stopJournal = new AbortController()
  const writing = journalWriter.run(stopJournal.signal)

  function chainAgeMs(): number {
    const freshness = indexer.freshness()
    return freshness ? clock() - freshness.checkedAt : Number.POSITIVE_INFINITY
  }

  /** While Postgres is gone the last table serves. */
  async function refreshServices(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await services.refresh().catch((err) => logger.warn({ err }, 'services cannot be read; the last ones are served'))
      await delay(refreshMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async function checkChain(): Promise<void> {
    if (chainAgeMs() > staleAfterMs) throw new Error('not seen within the bound')
  }

  let stopped: Promise<void> | undefined
  async function stop(): Promise<void> {
    stopping.abort()
    await Promise.all(workers)
    stopJournal.abort()
    await writing
    await meter.close()
    await recordsDb.close()
    await db.close()
  }

  return {
    connection: {
      apiKey: 'embedded',
      gatewayUrl,
      fetch: async (input, init) => app.fetch(new Request(input, init)),
    },
    async readiness() {
      const checks = await runChecks({ database: db.ping, meter: meter.ping, chain: checkChain }, checkTimeoutMs)
      const { database = '', meter: ofMeter = '', chain: ofChain = '' } = checks
      return { database, meter: ofMeter, chain: ofChain }
    },
    stop() {
      stopped ??= stop()
      return stopped
    },
  }
}
