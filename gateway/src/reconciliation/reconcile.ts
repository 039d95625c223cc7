import { setTimeout as delay } from 'node:timers/promises'
import {
  type ChannelBook,
  type ChannelKey,
  type Db,
  type Difference,
  type IndexerCursor,
  listOrphans,
  listPayments,
  listUnprovenPayments,
  type Orphan,
  type Payment,
  type ReconciliationTotals,
  readBooks,
  type UnprovenPayment,
} from '@protocolbanks/stream-db'
import {
  type Address,
  BaseError,
  canonicalSignature,
  createVoucherHasher,
  type Hex,
  type Voucher,
} from '@protocolbanks/stream-protocol'
import { type PublicClient, TransactionReceiptNotFoundError } from 'viem'
import { type ChainReader, createChainReader } from '../indexer/chainReader.ts'
import type { GrantMeter, Meter } from '../meter/meter.ts'
import { compareBook } from './compareBook.ts'
import { comparePayment, type PaymentTransaction } from './comparePayment.ts'
import { readPayments } from './readPayments.ts'

export type ReconcileDeps = {
  /** With time for long statements. */
  db: Db
  client: PublicClient
  meter: Pick<Meter, 'read'>
  module: Address
  token: Address
  chainId: number
  clock(): number
  /** How long the meter may be ahead of the journal: the longest that a request is without an outcome, and the lag. */
  meterPatienceMs: number
  /** How long other books may differ while the mirror catches up. */
  mirrorPatienceMs: number
}

export type ReconcileScope = {
  /** Undefined: all. */
  grantId?: Hex | undefined
  /** Payments of later blocks are held against the token's transfers; those before were. */
  paymentsAbove: bigint
  signal: AbortSignal
  /** Called before each page and each batch of receipts. @throws when somebody else took over */
  keepAlive(): Promise<void>
}

export type ReconcileResult = { blockNumber: bigint; totals: ReconciliationTotals; differences: Difference[] }

const channelsPerPage = 50
const paymentsPerPage = 200
const receiptsAtOnce = 50
/** What differs at the first look is looked at again. Above this many the first look stops: the next finds the rest. */
const maxSuspects = 2_000
const lookAgainMs = 500

/**
 * Compares, per grant and payee, what the vouchers, the channel, the journal, the meter, the chain's state and events,
 * the token's transfers and the settlements say. Only reads. Money moves meanwhile, so what differs is looked at again
 * until it agrees or its patience is over.
 *
 * @throws MirrorMissingError; what Postgres, the meter or the chain throw
 */
export async function reconcile(deps: ReconcileDeps, scope: ReconcileScope): Promise<ReconcileResult> {
  const { db, client, meter, module, token, chainId, clock } = deps
  const { grantId, paymentsAbove, signal, keepAlive } = scope
  const cursorName = `${chainId}:${module.toLowerCase()}`
  const hash = createVoucherHasher({ chainId, module })
  const chain = createChainReader({ client, module, token, maxRangeBlocks: 1n })
  const suspects = new Map<string, Suspect>()
  /** The least the meter said of a channel while it was suspect: what was released since is not owed to the journal. */
  const least = new Map<string, bigint>()
  const totals = { channels: 0, allowed: 0n, charged: 0n, settled: 0n, owed: 0n, writtenOff: 0n, payments: 0 }

  const cursor = await lookAtBooks()
  await lookAtOrphans()
  await lookAtPayments(cursor.blockNumber)
  await lookAtSettlements(cursor.blockNumber)
  const differences = await lookAgain()
  return {
    blockNumber: cursor.blockNumber,
    differences,
    totals: {
      channels: totals.channels,
      allowedAtomic: `${totals.allowed}`,
      chargedAtomic: `${totals.charged}`,
      settledAtomic: `${totals.settled}`,
      owedAtomic: `${totals.owed}`,
      writtenOffAtomic: `${totals.writtenOff}`,
      payments: totals.payments,
    },
  }

  async function lookAtBooks(): Promise<IndexerCursor> {
    let first: IndexerCursor | undefined
    let after: ChannelKey | undefined
    do {
      await keepGoing()
      const { cursor, books } = await readBooks(db, { cursorName, grantId, after, limit: channelsPerPage })
      if (!cursor) throw new MirrorMissingError({ chainId, module })
      first ??= cursor
      for (const { book, differences } of await compare(books, cursor)) {
        count(book)
        for (const difference of differences) {
          const { kind, payee } = difference
          suspect(`${kind} ${book.grantId} ${payee}`, { type: 'book', ...keyOf(book) }, difference)
        }
      }
      after = books.length === channelsPerPage ? books.at(-1) : undefined
    } while (after)
    return first
  }

  function count({ cumulativeAmount, charged, settled, writtenOff }: ChannelBook): void {
    totals.channels++
    totals.allowed += cumulativeAmount
    totals.charged += charged
    totals.settled += settled
    totals.owed += charged > settled ? charged - settled : 0n
    totals.writtenOff += writtenOff
  }

  async function compare(
    books: readonly ChannelBook[],
    { blockNumber: number, blockHash }: IndexerCursor,
  ): Promise<{ book: ChannelBook; differences: Difference[] }[]> {
    // After the books: what the journal has by then, the meter has too.
    const live = await readMeter(books)
    return Promise.all(
      books.map(async (book) => ({
        book,
        differences: compareBook(book, {
          isSigned: isSigned(book, hash),
          onChain: await readSettled(chain, book, { number, hash: blockHash }),
          live: leastOf(book, live.get(book.grantId)),
        }),
      })),
    )
  }

  async function readMeter(books: readonly ChannelBook[]): Promise<Map<Hex, GrantMeter>> {
    const grants = new Map(books.flatMap(({ grantId: id, grant }) => (grant ? [[id, grant.account] as const] : [])))
    const meters = new Map<Hex, GrantMeter>()
    for (const [id, account] of grants) {
      const found = await meter.read(account, id)
      if (found) meters.set(id, found)
    }
    return meters
  }

  function leastOf(book: ChannelBook, found: GrantMeter | undefined): bigint | undefined {
    const live = found?.channels[book.payee]?.charged
    if (live === undefined) return undefined
    const key = `${book.grantId} ${book.payee}`
    const before = least.get(key)
    // Ahead of the journal: the journal has to reach the least of it. Behind: as it is.
    if (live <= book.charged) {
      least.delete(key)
      return live
    }
    const now = before !== undefined && before < live ? before : live
    if (now <= book.charged) {
      least.delete(key)
      return book.charged
    }
    if (least.size < maxSuspects) least.set(key, now)
    return now
  }

  async function lookAtOrphans(): Promise<void> {
    await keepGoing()
    for (const difference of await orphans()) {
      suspect(orphanKey(difference), { type: 'orphan' }, difference)
    }
  }

  async function orphans(): Promise<Difference[]> {
    return (await listOrphans(db, { grantId, limit: maxSuspects })).flatMap(orphanDifferences)
  }

  async function lookAtPayments(upTo: bigint): Promise<void> {
    let after: Payment | undefined
    do {
      await keepGoing()
      const payments = await listPayments(db, {
        token,
        grantId,
        above: paymentsAbove,
        upTo,
        after,
        limit: paymentsPerPage,
      })
      totals.payments += payments.length
      const transactions = await readTransactions(payments)
      for (const payment of payments) {
        const difference = comparePayment(payment, transactions.get(payment.txHash))
        if (difference)
          suspect(`transfer ${payment.txHash} ${payment.logIndex}`, { type: 'payment', payment }, difference)
      }
      after = payments.length === paymentsPerPage ? payments.at(-1) : undefined
    } while (after)
  }

  async function readTransactions(payments: readonly Payment[]): Promise<Map<Hex, PaymentTransaction>> {
    const transactions = new Map<Hex, PaymentTransaction>()
    if (payments.length === 0) return transactions
    const contracts = { module, token, reserve: await chain.reserve() }
    const hashes = [...new Set(payments.map(({ txHash }) => txHash))]
    for (let start = 0; start < hashes.length; start += receiptsAtOnce) {
      await keepGoing()
      await Promise.all(
        hashes.slice(start, start + receiptsAtOnce).map(async (txHash) => {
          const receipt = await client.getTransactionReceipt({ hash: txHash }).catch(noneIfNotFound)
          const read = receipt && { blockHash: receipt.blockHash, payments: readPayments(receipt.logs, contracts) }
          transactions.set(txHash, read)
        }),
      )
    }
    return transactions
  }

  async function lookAtSettlements(upTo: bigint): Promise<void> {
    await keepGoing()
    for (const unproven of await listUnprovenPayments(db, {
      grantId,
      above: paymentsAbove,
      upTo,
      limit: maxSuspects,
    })) {
      suspect(
        `payment ${unproven.settlementId} ${unproven.payee}`,
        { type: 'settlement', unproven },
        toDifference(unproven),
      )
    }
  }

  function suspect(key: string, about: About, difference: Difference): void {
    if (suspects.size >= maxSuspects) return
    const patienceMs = difference.kind === 'meter' ? deps.meterPatienceMs : deps.mirrorPatienceMs
    suspects.set(key, { about, difference, until: clock() + patienceMs })
  }

  /** Bounded by the longest patience. */
  async function lookAgain(): Promise<Difference[]> {
    const confirmed: Difference[] = []
    while (suspects.size > 0) {
      await delay(lookAgainMs, undefined, { signal })
      await keepGoing()
      const now = await differencesNow()
      for (const [key, { until }] of suspects) {
        const difference = now.get(key)
        if (difference && clock() < until) continue
        if (difference) confirmed.push(difference)
        suspects.delete(key)
      }
    }
    return confirmed
  }

  async function differencesNow(): Promise<Map<string, Difference>> {
    const now = new Map<string, Difference>()
    const abouts = [...suspects.values()].map(({ about }) => about)
    const keys = new Map(
      abouts.flatMap((about) => (about.type === 'book' ? [[`${about.grantId} ${about.payee}`, about]] : [])),
    )
    const list = [...keys.values()]
    for (let start = 0; start < list.length; start += channelsPerPage) {
      const page = list.slice(start, start + channelsPerPage)
      const { cursor, books } = await readBooks(db, { cursorName, keys: page, limit: channelsPerPage })
      if (!cursor) throw new MirrorMissingError({ chainId, module })
      for (const { book, differences } of await compare(books, cursor)) {
        for (const difference of differences) now.set(`${difference.kind} ${book.grantId} ${book.payee}`, difference)
      }
    }
    for (const about of abouts) {
      if (about.type === 'payment') {
        const { grantId: of, blockNumber, logIndex } = about.payment
        const above = { token, grantId: of, above: blockNumber - 1n, upTo: blockNumber, limit: paymentsPerPage }
        const again = await listPayments(db, { ...above, after: { blockNumber, logIndex: logIndex - 1 } })
        const payment = again.find((one) => one.logIndex === logIndex)
        if (!payment) continue
        const transaction = (await readTransactions([payment])).get(payment.txHash)
        const difference = comparePayment(payment, transaction)
        if (difference) now.set(`transfer ${payment.txHash} ${payment.logIndex}`, difference)
      }
    }
    if (abouts.some(({ type }) => type === 'orphan')) {
      for (const difference of await orphans()) now.set(orphanKey(difference), difference)
    }
    if (abouts.some(({ type }) => type === 'settlement')) {
      const upTo = cursor.blockNumber
      for (const unproven of await listUnprovenPayments(db, {
        grantId,
        above: paymentsAbove,
        upTo,
        limit: maxSuspects,
      })) {
        now.set(`payment ${unproven.settlementId} ${unproven.payee}`, toDifference(unproven))
      }
    }
    return now
  }

  async function keepGoing(): Promise<void> {
    signal.throwIfAborted()
    await keepAlive()
  }
}

type About =
  | ({ type: 'book' } & ChannelKey)
  | { type: 'orphan' }
  | { type: 'payment'; payment: Payment }
  | { type: 'settlement'; unproven: UnprovenPayment }

type Suspect = { about: About; difference: Difference; until: number }

function keyOf({ grantId, payee }: ChannelKey): ChannelKey {
  return { grantId, payee }
}

/** With either recovery bit: settlement puts in the right one. */
function isSigned(
  { grantId, payee, cumulativeAmount, signature, grant }: ChannelBook,
  hash: (voucher: Voucher) => Uint8Array,
): boolean {
  if (!signature || !grant) return false
  return canonicalSignature(hash, { grantId, payee, cumulativeAmount, signature }, grant.terms.sessionKey) !== undefined
}

async function readSettled(
  chain: ChainReader,
  { grantId, payee, grant }: ChannelBook,
  at: { number: bigint; hash: Hex },
): Promise<bigint | undefined> {
  return grant && chain.channelSettled({ grantId, ...grant }, payee, at)
}

function toDifference({ settlementId, grantId, payee, paid, events, txHash }: UnprovenPayment): Difference {
  const detail = `The settlement ${settlementId} says it paid another amount than transaction ${txHash} did.`
  return { kind: 'payment', grantId, payee, expected: events, actual: paid, detail }
}

function orphanDifferences({ grantId, payee, journal, events }: Orphan): Difference[] {
  const of = { grantId, payee, actual: 0n }
  const found: Difference[] = []
  if (journal > 0n) {
    found.push({
      ...of,
      kind: 'journal',
      expected: journal,
      detail: 'The journal has charges of a channel that is gone.',
    })
  }
  if (events > 0n) {
    found.push({ ...of, kind: 'settled', expected: events, detail: 'The chain paid for a channel that is gone.' })
  }
  return found
}

function orphanKey({ kind, grantId, payee }: Difference): string {
  return `orphan ${kind} ${grantId} ${payee}`
}

function noneIfNotFound(error: unknown): undefined {
  if (error instanceof TransactionReceiptNotFoundError) return undefined
  throw error
}

export class MirrorMissingError extends BaseError {
  override readonly code = 'reconciliation.no_mirror'
  override readonly retryable = true
  constructor({ chainId, module }: { chainId: number; module: Address }) {
    super('The chain is not mirrored yet, so there is nothing to compare with it.', {
      metaMessages: [`Chain: ${chainId}`, `Module: ${module}`, 'Ask again when the gateway is ready.'],
      docsPath: '/errors#reconciliation-no-mirror',
    })
  }
}
