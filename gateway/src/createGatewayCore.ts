import { setTimeout as delay } from 'node:timers/promises'
import {
  type Db,
  ensureChannel,
  getGrant,
  listAllServices,
  listCreditDebtors,
  requestExposedSettlements,
} from '@protocolbanks/stream-db'
import { createVoucherHasher } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { PublicClient } from 'viem'
import type { AnswerStore } from './answers/answerStore.ts'
import type { OperatorCredit } from './exposure/creditLimitsOf.ts'
import { createExposureKeeper } from './exposure/exposureKeeper.ts'
import { createGrantDirectory } from './grants/grantDirectory.ts'
import { createAccountMirror } from './indexer/accountMirror.ts'
import { createIndexer } from './indexer/indexer.ts'
import { createJournal, type JournalOptions } from './journal/createJournal.ts'
import { createMeterRecords } from './journal/createMeterRecords.ts'
import { createJournalWriter } from './journal/journalWriter.ts'
import { createMeter } from './meter/createMeter.ts'
import type { ReachedLimit } from './meter/meter.ts'
import type { Chain } from './payment/chain.ts'
import type { ReceiptSigner } from './payment/createReceiptSigner.ts'
import { createPaymentGate, type OtherSchemes } from './payment/paymentGate.ts'
import { createServiceTable } from './services/serviceTable.ts'

export type GatewayCoreDeps = {
  db: Db
  /** Connections of its own: signs of life of the meter must not wait behind anything. */
  recordsDb: Db
  /** Without it the meter lives in this process, which must then be the only one. */
  redisUrl: string | undefined
  chain: Chain
  client: PublicClient
  /** The first block that can hold an event of the module. */
  startBlock: bigint
  indexerPollMs: number
  /** On-chain state is never served older than this. */
  maxChainAgeMs: number
  settlementMarginSeconds: number
  operatorCredit: OperatorCredit
  maxGrants: number
  maxLedgerEvents: number
  answers: AnswerStore
  /** How long a retry waits for the first request to end. */
  retryWaitMs: number
  otherSchemes?: OtherSchemes | undefined
  receiptSigner?: ReceiptSigner | undefined
  /** Of this process. */
  instance: string
  clock(): number
  logger: Logger
  metrics: Registry
  onJournalled?: JournalOptions['onJournalled']
  onLimit?: ((limit: ReachedLimit) => void) | undefined
  /** Read again with the services, once a second. */
  refreshAlso?(): Promise<void>
  crashPoint?: ((name: string) => void) | undefined
}

export type GatewayCore = ReturnType<typeof createGatewayCore>

const refreshMs = 1_000
const unknownGrantTtlMs = 1_000

/**
 * What every gateway is made of, whether it is a service (`main.ts`) or inside a merchant's process (`embedded/`): gate,
 * meter, mirror of the chain, journal, services. Nothing runs before `run` and `writeJournal` are called.
 */
export function createGatewayCore(deps: GatewayCoreDeps) {
  const { db, chain, client, instance, clock, logger, metrics, maxChainAgeMs, operatorCredit, crashPoint } = deps
  const journal = createJournal({
    db,
    clock,
    logger,
    hashVoucher: createVoucherHasher(chain),
    ownUsage: (eventId) => meter.ownUsage?.(eventId),
    metrics,
    onJournalled: deps.onJournalled,
  })
  const meter = createMeter({
    redisUrl: deps.redisUrl,
    instance,
    clock,
    durability: {
      records: createMeterRecords({ db: deps.recordsDb, journal, instance }),
      logger,
      monotonicClock: () => performance.now(),
      maxLedgerEvents: deps.maxLedgerEvents,
      metrics,
      crashPoint,
    },
  })
  const mirror = createAccountMirror({ db, meter, token: chain.token, clock, logger })
  const indexer = createIndexer({
    db,
    client,
    meter,
    mirror,
    module: chain.module,
    token: chain.token,
    chainId: chain.chainId,
    startBlock: deps.startBlock,
    clock,
    logger,
    pollMs: deps.indexerPollMs,
    staleAfterMs: maxChainAgeMs,
    metrics,
  })
  const journalWriter = createJournalWriter({ journal, meter, clock, logger, metrics, crashPoint })
  const services = createServiceTable(() => listAllServices(db), clock)
  const exposure = createExposureKeeper({
    meter,
    limited: services.limited,
    listDebtors: (page) => listCreditDebtors(db, page),
    mirrorAccount: mirror.mirrorAccount,
    requestSettlements: () =>
      requestExposedSettlements(db, { now: new Date(clock()), token: chain.token, ...operatorCredit, limit: 100 }),
    clock,
    logger,
    metrics,
  })
  const grants = createGrantDirectory({
    load: (grantId) => getGrant(db, grantId),
    openChannel: ({ proof, ...channel }) => ensureChannel(db, { ...channel, payeeProof: proof }),
    maxGrants: deps.maxGrants,
    unknownTtlMs: unknownGrantTtlMs,
  })
  const gate = createPaymentGate({
    chain,
    meter,
    grants,
    answers: deps.answers,
    otherSchemes: deps.otherSchemes,
    receiptSigner: deps.receiptSigner,
    mirrorAccount: mirror.restoreAccount,
    chainAgeMs,
    maxChainAgeMs,
    instance,
    settlementMarginSeconds: deps.settlementMarginSeconds,
    operatorCredit,
    makeRoom: exposure.makeRoom,
    onLimit: deps.onLimit,
    retryWaitMs: deps.retryWaitMs,
    now: clock,
    crashPoint,
  })

  return {
    meter,
    mirror,
    indexer,
    services,
    grants,
    gate,
    chainAgeMs,
    /** For `runChecks`: what has to be well before paid calls can be served. */
    checks: { database: db.ping, meter: meter.ping, chain: checkChain },
    /** Follows the chain, the services and what is owed on credit, until it is stopped. */
    async run(signal: AbortSignal): Promise<void> {
      await Promise.all([indexer.run(signal), exposure.run(signal), refreshServices(signal)])
    },
    /** To be stopped after the last request has ended, and before the meter is closed: journals what was charged. */
    writeJournal: journalWriter.run,
  }

  function chainAgeMs(): number {
    const freshness = indexer.freshness()
    return freshness ? clock() - freshness.checkedAt : Number.POSITIVE_INFINITY
  }

  async function checkChain(): Promise<void> {
    if (chainAgeMs() > maxChainAgeMs) throw new Error('not seen within the bound')
  }

  /** Prices and upstreams are at most a second old. While Postgres is gone the last serve. */
  async function refreshServices(signal: AbortSignal): Promise<void> {
    let isStale = false
    while (!signal.aborted) {
      try {
        await Promise.all([services.refresh(), deps.refreshAlso?.()])
        isStale = false
      } catch (err) {
        if (!isStale) logger.warn({ err }, 'services cannot be read; the last ones are served')
        isStale = true
      }
      await delay(refreshMs, undefined, { signal }).catch(() => undefined)
    }
  }
}
