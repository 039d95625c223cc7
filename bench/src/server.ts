import { createAdaptorServer } from '@hono/node-server'
import {
  createDb,
  createMerchant,
  createService,
  migrate,
  upsertAccountsFromChain,
  upsertGrantsFromChain,
} from '@protocolbanks/stream-db'
import {
  createAccountMirror,
  createAnswerStore,
  createGrantDirectory,
  createJournal,
  createJournalWriter,
  createMeter,
  createMeterRecords,
  createPaymentGate,
  createReceiptSigner,
  paymentMiddleware,
} from '@protocolbanks/stream-gateway'
import { createVoucherHasher } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { pino } from 'pino'
import { zeroAddress } from 'viem'
import { accountAt, accountStateAt, chain, funds, grantIdAt, payee, price, serviceOf, terms } from './scenario.ts'

// The server under load: one route free, the same route paid, on the real meter, with the journal written to Postgres.
// GRANTS: how many grants there are, one by default. SIGN_RECEIPTS=no: receipts without signatures, to see what those cost.

const { DATABASE_URL: url = '', REDIS_URL: redisUrl, PORT = '0', GRANTS = '1', SIGN_RECEIPTS } = process.env
const clock = Date.now
const instance = 'bench'
const logger = pino({ level: 'warn' })

await migrate({ url })
const db = createDb({ url, onError: (error) => logger.error(error) })
const merchant = await createMerchant(db, { name: 'bench', payee })
const { id } = await createService(db, {
  merchantId: merchant.id,
  name: 'paid',
  pathPrefix: '/paid',
  price,
  token: chain.token,
})
const service = serviceOf(id, merchant.id)
const state = { status: 'active', settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber: 1n } as const
const owned = Array.from({ length: Number(GRANTS) }, (_, index) => ({
  grantId: grantIdAt(index),
  account: accountAt(index),
}))
const grantsPerStatement = 500
for (let start = 0; start < owned.length; start += grantsPerStatement) {
  const some = owned.slice(start, start + grantsPerStatement)
  // One commit for all of them: the disk is waited for once.
  await db.transaction(async (tx) => {
    await upsertGrantsFromChain(
      tx,
      some.map((grant) => ({ ...state, ...grant, epoch: 0n, terms })),
    )
    await upsertAccountsFromChain(
      tx,
      some.map(({ account }) => ({
        account,
        token: chain.token,
        balance: funds,
        allowance: funds,
        accountFrozen: false,
        guardian: zeroAddress,
        epoch: 0n,
        blockNumber: 1n,
      })),
    )
  })
}
const known = new Map(owned.map((grant) => [grant.grantId, grant]))

const journal = createJournal({
  db,
  clock,
  logger,
  hashVoucher: createVoucherHasher(chain),
  ownUsage: (eventId) => meter.ownUsage?.(eventId),
})
const records = createMeterRecords({ db, journal, instance })
const durability = { records, logger, monotonicClock: () => performance.now() }
const meter = createMeter({ redisUrl, instance, clock, durability })
await meter.ping()
// Each account as its first call would bring it, without asking Postgres ten thousand times.
const accountsAtOnce = 100
for (let start = 0; start < owned.length; start += accountsAtOnce) {
  const some = owned.slice(start, start + accountsAtOnce)
  await Promise.all(
    some.map(async ({ account }, index) => {
      const epoch = await meter.epoch?.(account)
      await meter.mirror({ ...accountStateAt(start + index), epoch })
    }),
  )
}
const mirror = createAccountMirror({ db, meter, token: chain.token, clock, logger })
const stopJournal = new AbortController()
const writing = createJournalWriter({ journal, meter, clock, logger }).run(stopJournal.signal)
const gate = createPaymentGate({
  chain,
  meter,
  grants: createGrantDirectory({
    load: async (wanted) => {
      const grant = known.get(wanted)
      return grant && { ...grant, ...terms }
    },
    openChannel: async () => {},
    maxGrants: 100_000,
    unknownTtlMs: 1000,
  }),
  answers: createAnswerStore({ maxBytes: 64 * 1024 * 1024, ttlMs: 600_000 }),
  mirrorAccount: mirror.mirrorAccount,
  chainAgeMs: () => 0,
  maxChainAgeMs: 30_000,
  instance,
  settlementMarginSeconds: 600,
  retryWaitMs: 1000,
  // As a deployment does: signing is a part of what a paid call costs.
  receiptSigner: SIGN_RECEIPTS === 'no' ? undefined : createReceiptSigner(`0x${'7a'.repeat(32)}`),
  now: clock,
})

const app = new Hono()
app.get('/ready', (c) => c.json({ status: 'ready' }))
app.get('/free', (c) => c.json({ city: 'Paris', sky: 'clear', celsius: 21 }))
app.use('/paid', paymentMiddleware({ gate, serviceOf: () => service, publicUrl: 'http://bench.test' }))
app.get('/paid', (c) => c.json({ city: 'Paris', sky: 'clear', celsius: 21 }))
app.get('/cpu', (c) => c.json(process.cpuUsage()))
app.get('/service', (c) => c.json({ id: service.id, merchantId: service.merchantId }))

const server = createAdaptorServer({ fetch: app.fetch })
server.listen({ host: '127.0.0.1', port: Number(PORT), backlog: 4_096 })
process.on('SIGTERM', async () => {
  server.close()
  stopJournal.abort()
  await writing
  await meter.close()
  await db.close()
  process.exit(0)
})
