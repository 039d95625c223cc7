import { randomUUID } from 'node:crypto'
import { createDb, migrate } from '@protocolbanks/stream-db'
import { type ChargesTransport, type Hex, parseAmount, type ReceiptKey } from '@protocolbanks/stream-protocol'
import { createLogger, runChecks } from '@protocolbanks/stream-runtime'
import type { Logger } from 'pino'
import { Registry } from 'prom-client'
import { createPublicClient, http } from 'viem'
import { createAnswerStore } from '../answers/answerStore.ts'
import { createGatewayCore } from '../createGatewayCore.ts'
import type { Chain } from '../payment/chain.ts'
import { createChargesOperations } from '../payment/chargesOperations.ts'
import { createReceiptSigner, receiptPrivateKeySchema } from '../payment/createReceiptSigner.ts'
import { createChargesTransport } from './createChargesTransport.ts'
import { type EmbeddedMerchant, ensureMerchant } from './ensureMerchant.ts'
import { tokenDecimals } from './tokenDecimals.ts'

export type EmbeddedGatewayOptions = EmbeddedMerchant & {
  /** Of the merchant's own Postgres: grants, the journal, what settlement reads. */
  databaseUrl: string
  /** Of the merchant's own Redis. Without it the meter lives in this process, which must then be the only one. */
  redisUrl?: string | undefined
  rpcUrl: string
  chain: Chain
  /** Of the token, in which prices are written; the chain's word by default, and never another. */
  tokenDecimals?: number | undefined
  /** The first block that can hold an event of the module. 0 by default. */
  startBlock?: bigint | undefined
  /** On-chain state is never served older than this. 30 by default. */
  maxChainStalenessSeconds?: number | undefined
  /** A grant is no longer served this long before it ends. 600 by default. */
  settlementMarginSeconds?: number | undefined
  indexerPollMs?: number | undefined
  /** Signs receipts: 32 bytes, a private key of P-256. Without it they are not signed. */
  receiptKey?: Hex | undefined
  logger?: Logger | undefined
  /** Where its metrics go; the same as the gateway's (docs/metrics.md). */
  registry?: Registry | undefined
}

export type EmbeddedGateway = {
  /** For `new PBStream({ ...connection, service, ratePerCall })`: as a gateway elsewhere, but without a network. */
  connection: { apiKey: string; gatewayUrl: string; transport: ChargesTransport; decimals: number }
  /** The public half of `receiptKey`, to be published as a JSON Web Key Set: `GET /.well-known/jwks.json`. */
  receiptKeys: readonly ReceiptKey[]
  /** `ok`, or what is wrong in one sentence, of Postgres, the meter and the chain; for the merchant's own readiness page. */
  readiness(): Promise<Record<'database' | 'meter' | 'chain', string>>
  /** Takes nothing new, and journals what was charged. */
  stop(): Promise<void>
}

/** Never left: the requests to it are answered in this process. */
const gatewayUrl = 'http://embedded-gateway.invalid'
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
 * @throws when Postgres cannot be reached, ServiceTakenError, InvalidAmountError, TokenDecimalsError
 */
export async function createEmbeddedGateway(options: EmbeddedGatewayOptions): Promise<EmbeddedGateway> {
  const { chain, databaseUrl: url, maxChainStalenessSeconds = 30, settlementMarginSeconds = 600 } = options
  const registry = options.registry ?? new Registry()
  const secrets = [url, options.redisUrl, options.rpcUrl].filter((secret) => secret !== undefined)
  const logger = options.logger ?? createLogger({ service: 'gateway', level: 'warn', secrets })

  const client = createPublicClient({ transport: http(options.rpcUrl, { batch: true, timeout: 5_000 }), cacheTime: 0 })
  const decimals = await tokenDecimals(client, { token: chain.token, expected: options.tokenDecimals, logger })
  for (const { price } of options.services) parseAmount(price, decimals)

  await migrate({ url })
  const onError = (err: Error) => logger.warn({ err }, 'a database connection was lost')
  const db = createDb({ url, onError })
  // Connections of its own: signs of life must not wait behind anything.
  const recordsDb = createDb({ url, maxConnections: 3, onError })
  const merchantId = await ensureMerchant(db, options, { token: chain.token, decimals })

  const receiptSigner = options.receiptKey && createReceiptSigner(receiptPrivateKeySchema.parse(options.receiptKey))
  const { gate, meter, services, ...core } = createGatewayCore({
    db,
    recordsDb,
    redisUrl: options.redisUrl,
    chain,
    client,
    startBlock: options.startBlock ?? 0n,
    indexerPollMs: options.indexerPollMs ?? 1_000,
    maxChainAgeMs: maxChainStalenessSeconds * 1_000,
    settlementMarginSeconds,
    operatorCredit: {},
    maxGrants,
    maxLedgerEvents,
    answers: createAnswerStore({ maxBytes: maxAnswerBytes, ttlMs: requestRetentionMs }),
    receiptSigner,
    retryWaitMs,
    instance: randomUUID(),
    clock: Date.now,
    logger,
    metrics: registry,
  })
  const operations = createChargesOperations({ gate, services, createTicketId: randomUUID, outcomeTimeoutMs })
  const transport = createChargesTransport({
    operations,
    merchantId,
    onError: (err) => logger.error({ err }, 'a charge failed'),
  })

  await services.refresh()
  const stopping = new AbortController()
  const running = core.run(stopping.signal)
  const stopJournal = new AbortController()
  const writing = core.writeJournal(stopJournal.signal)

  let stopped: Promise<void> | undefined
  async function stop(): Promise<void> {
    stopping.abort()
    await running
    stopJournal.abort()
    await writing
    await meter.close()
    await recordsDb.close()
    await db.close()
  }

  return {
    connection: { apiKey: 'embedded', gatewayUrl, decimals, transport },
    receiptKeys: receiptSigner ? [receiptSigner.key] : [],
    async readiness() {
      const checks = await runChecks(core.checks, checkTimeoutMs)
      const { database = '', meter: ofMeter = '', chain: ofChain = '' } = checks
      return { database, meter: ofMeter, chain: ofChain }
    },
    stop() {
      stopped ??= stop()
      return stopped
    },
  }
}
