import { setTimeout as delay } from 'node:timers/promises'
import type { MerchantCredit } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import { type Meter, partitionCount } from '../meter/meter.ts'
import { partitionOf } from '../meter/partitionOf.ts'
import { balanceBudgets } from './balanceBudgets.ts'
import { createExposureMetrics } from './exposureMetrics.ts'

/** A merchant with a limit over all accounts. */
export type LimitedMerchant = { merchantId: string; payee: Address; token: Address; credit: MerchantCredit }

export type ExposureKeeper = {
  /**
   * Moves budget to where it was refused; waits for that a moment at most. True: charging again may go well. Without
   * budgets to move, or when all is given out, false at once.
   */
  makeRoom(merchant: Omit<LimitedMerchant, 'credit'> & { credit?: MerchantCredit | undefined }): Promise<boolean>
  /** Watches what is owed until the signal: moves budgets before they run out, asks for settlements, tells the metrics. */
  run(signal: AbortSignal): Promise<void>
}

export type ExposureKeeperOptions = {
  meter: Pick<Meter, 'budgets' | 'exposureOf'>
  /** Merchants with a limit over all accounts. */
  limited(): LimitedMerchant[]
  /** Accounts that owe the merchant on credit by the journal, after `after`, at most `limit`. */
  listDebtors(p: { merchantId: string; token: Address; after?: Address | undefined; limit: number }): Promise<Address[]>
  mirrorAccount(account: Address): Promise<boolean>
  /** Asks for settlements of those whose debt nears a limit. */
  requestSettlements(): Promise<unknown>
  clock(): number
  logger: Logger
  metrics: Registry
  /** Between two looks at everything. */
  intervalMs?: number
  /** Between two rounds of one merchant, unless nothing else moved its budgets. */
  roundIntervalMs?: number
}

/** Debtors that are copied to the meter at once, and read from Postgres at once. */
const debtorsAtOnce = 8
const debtorsPerPage = 500
/** A request does not wait longer than this for room. */
const maxWaitMs = 1_000
/** Merchants that are looked at in one pass: the others come next. */
const merchantsPerPass = 100
const maxMerchants = 10_000

/** What this process remembers of a merchant's budgets. */
type Rounds = {
  endedAtMs: number
  exhausted: boolean
  used: bigint[]
  running?: Promise<boolean> | undefined
  next?: Promise<boolean> | undefined
}

/**
 * Keeps what merchants are owed on credit within their limits over all accounts, and shows it. Any number of processes
 * may run one: none leads, as rounds of several never give out more than the limit.
 */
export function createExposureKeeper(options: ExposureKeeperOptions): ExposureKeeper {
  const { meter, limited, clock, logger, intervalMs = 1_000, roundIntervalMs = 200 } = options
  const known = new LRUCache<string, Rounds>({ max: maxMerchants })
  const metrics = createExposureMetrics(options.metrics)
  let position = 0
  let failing = false

  function roundsOf({ merchantId }: LimitedMerchant): Rounds {
    const found = known.get(merchantId)
    if (found) return found
    const rounds: Rounds = { endedAtMs: Number.NEGATIVE_INFINITY, exhausted: false, used: [] }
    known.set(merchantId, rounds)
    return rounds
  }

  /** A round that begins after this call, shared by all who ask meanwhile. True when it gave something out. */
  function nextRound(merchant: LimitedMerchant): Promise<boolean> {
    const rounds = roundsOf(merchant)
    if (rounds.next) return rounds.next
    const next = (async () => {
      await rounds.running
      const waitMs = rounds.endedAtMs + roundIntervalMs - clock()
      if (waitMs > 0) await delay(Math.min(waitMs, roundIntervalMs))
      rounds.next = undefined
      rounds.running = round(merchant, rounds)
      return rounds.running
    })()
    rounds.next = next
    return next
  }

  /** Never throws. */
  async function round(merchant: LimitedMerchant, rounds: Rounds): Promise<boolean> {
    const { budgets } = meter
    const { maxTotal, version } = merchant.credit
    if (!budgets || maxTotal === undefined) return false
    try {
      const { outcome, used, exhausted } = await balanceBudgets({
        budgets,
        token: merchant.token,
        payee: merchant.payee,
        maxTotal,
        policy: version,
        usedBefore: rounds.used,
        countDebts: (partitions) => countDebts(merchant, partitions),
      })
      rounds.used = used
      rounds.exhausted = exhausted
      metrics.rounds.inc({ outcome })
      return true
    } catch (err) {
      metrics.rounds.inc({ outcome: 'failed' })
      logger.warn({ err, merchantId: merchant.merchantId }, 'budgets of credit could not be moved')
      return false
    } finally {
      rounds.endedAtMs = clock()
      rounds.running = undefined
    }
  }

  /** Ends: accounts are read in their order, each once. */
  async function countDebts({ merchantId, token }: LimitedMerchant, partitions: ReadonlySet<number>): Promise<void> {
    let after: Address | undefined
    do {
      const page = await options.listDebtors({ merchantId, token, after, limit: debtorsPerPage })
      const debtors = page.filter((account) => partitions.has(partitionOf(account)))
      for (let start = 0; start < debtors.length; start += debtorsAtOnce) {
        await Promise.all(debtors.slice(start, start + debtorsAtOnce).map(options.mirrorAccount))
      }
      after = page.length === debtorsPerPage ? page.at(-1) : undefined
    } while (after)
  }

  async function pass(): Promise<void> {
    const merchants = limited()
    metrics.forget(new Set(merchants.map(({ merchantId }) => merchantId)))
    const count = Math.min(merchantsPerPass, merchants.length)
    const chosen = Array.from({ length: count }, (_, index) => merchants[(position + index) % merchants.length])
    position = merchants.length === 0 ? 0 : (position + count) % merchants.length
    for (const merchant of chosen) if (merchant) await look(merchant)
    await options.requestSettlements()
  }

  async function look(merchant: LimitedMerchant): Promise<void> {
    const { merchantId, token, payee, credit } = merchant
    if (!meter.budgets) return metrics.show(merchantId, await meter.exposureOf(token, payee), credit.maxTotal)
    const parts = await meter.budgets.read(token, payee)
    const used = parts.reduce((sum, part) => sum + part.used, 0n)
    metrics.show(merchantId, used, credit.maxTotal)
    const { used: before } = roundsOf(merchant)
    const needsRound =
      before.length < partitionCount ||
      parts.some(
        (part, index) =>
          !part.counted ||
          part.policy < credit.version ||
          part.wanted > 0n ||
          // It will run out at this pace before the next look.
          part.budget - part.used < part.used - (before[index] ?? part.used),
      )
    if (needsRound) await nextRound(merchant)
    else roundsOf(merchant).used = parts.map((part) => part.used)
  }

  return {
    async makeRoom({ credit, ...service }) {
      if (!meter.budgets || !credit) return false
      const merchant = { ...service, credit }
      const rounds = roundsOf(merchant)
      if (rounds.exhausted && clock() - rounds.endedAtMs < roundIntervalMs) return false
      const late = new AbortController()
      const timeout = delay(maxWaitMs, false, { signal: late.signal }).catch(() => false)
      try {
        return await Promise.race([nextRound(merchant), timeout])
      } finally {
        late.abort()
      }
    },
    async run(signal) {
      while (!signal.aborted) {
        try {
          await pass()
          if (failing) logger.info('what is owed on credit is watched again')
          failing = false
        } catch (err) {
          if (!failing) logger.warn({ err }, 'what is owed on credit cannot be watched')
          failing = true
        }
        await delay(intervalMs, undefined, { signal }).catch(() => undefined)
      }
    },
  }
}
