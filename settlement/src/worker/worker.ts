import {
  type Claimable,
  compareUrgency,
  type DueSettlement,
  type SettlementWork,
  type UrgencyPolicy,
} from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { Batch, Route } from './route.ts'
import type { SettleResult } from './verdict.ts'

export type WorkerDeps = {
  /** Settlements that are due and nobody works on. */
  listDue(limit: number): Promise<DueSettlement[]>
  /** Ours from now on, in a lane if it had failed. Undefined: another worker came first, or its account is busy. */
  takeUp(due: DueSettlement): Promise<SettlementWork | undefined>
  listClaimable(limit: number): Promise<Claimable[]>
  /** Which of these accounts no other settlement may begin for now, whoever works on theirs. */
  listBusyAccounts(accounts: readonly Address[]): Promise<Address[]>
  /** Undefined: another worker came first, or nothing is owed any more. */
  claim(claimable: Claimable): Promise<SettlementWork | undefined>
  urgencyPolicy(): UrgencyPolicy
  route: Route
  onResult(result: SettleResult, work: SettlementWork): void
  pollMs: number
  logger: Logger
}

export type Worker = {
  /** Works until `signal` aborts, then until what is in flight has come to a safe place. */
  run(signal: AbortSignal): Promise<void>
  /** Settlements. */
  inFlight(): number
}

/** Grants of one account follow each other; so more are listed than there are free places. */
const grantsPerPlace = 4

/**
 * `what is due and what is owed, most urgent first → take up or claim → settle`, many accounts at once. Which settlements
 * of one account may go side by side is decided in Postgres.
 */
export function createWorker(deps: WorkerDeps): Worker {
  const { route, pollMs, logger } = deps
  const { maxBatches, batchSize } = route
  const running = new Set<string>()
  const batches = new Set<Promise<void>>()

  function start({ works: all, transaction }: Batch, signal: AbortSignal): void {
    // Our own lease ran out while we were at it: whoever is at it goes on.
    const works = all.filter(({ settlement }) => !running.has(settlement.id))
    if (works.length === 0 && !transaction) return
    for (const { settlement } of works) running.add(settlement.id)
    const done = route
      .settle({ works, transaction }, signal)
      .then((results) => {
        for (const [index, work] of works.entries()) deps.onResult(results[index] ?? { outcome: 'lost' }, work)
      })
      .finally(() => {
        for (const { settlement } of works) running.delete(settlement.id)
        batches.delete(done)
      })
    batches.add(done)
  }

  /** Fills batches, and starts each as soon as it is full. */
  function createFiller(signal: AbortSignal) {
    let works: SettlementWork[] = []
    const flush = () => {
      if (works.length > 0) start({ works }, signal)
      works = []
    }
    return {
      add(work: SettlementWork): void {
        works.push(work)
        if (works.length === batchSize) flush()
      },
      flush,
      room: () => (maxBatches - batches.size) * batchSize - works.length,
    }
  }

  async function step(signal: AbortSignal): Promise<void> {
    if (batches.size >= maxBatches) return
    const left = await route.takeUp()
    if (!left) return
    for (const batch of left) start(batch, signal)
    const filler = createFiller(signal)
    if (filler.room() <= 0) return
    const [due, claimable] = [await deps.listDue(filler.room()), await listFree(filler.room() * grantsPerPlace)]
    const policy = deps.urgencyPolicy()
    const candidates = [...due, ...claimable].toSorted((a, b) => compareUrgency(a, b, policy))
    // What is taken is begun, also when the next question fails.
    try {
      for (const one of candidates) {
        if (filler.room() <= 0 || signal.aborted) return
        const work = 'id' in one ? await deps.takeUp(one) : await deps.claim(one)
        if (work) filler.add(work)
      }
    } finally {
      filler.flush()
    }
  }

  /** Of accounts that are free, one grant each: the others come when it is done. */
  async function listFree(limit: number): Promise<Claimable[]> {
    const claimable = await deps.listClaimable(limit)
    if (claimable.length === 0) return []
    const taken = new Set(await deps.listBusyAccounts(claimable.map(({ account }) => account)))
    return claimable.filter(({ account }) => {
      if (taken.has(account)) return false
      taken.add(account)
      return true
    })
  }

  return {
    inFlight: () => running.size,
    async run(signal) {
      while (!signal.aborted) {
        try {
          await step(signal)
        } catch (error) {
          const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
          logger.warn({ reason }, 'no work could be fetched; trying again')
        }
        await pauseUntil(signal, pollMs, batches.size >= maxBatches ? [...batches] : [])
      }
      await Promise.all(batches)
    },
  }
}

/** The pause between two steps; with every place taken it ends as soon as one is free. */
async function pauseUntil(signal: AbortSignal, ms: number, running: readonly Promise<void>[]): Promise<void> {
  if (signal.aborted) return
  let timer: NodeJS.Timeout | undefined
  let onAbort: (() => void) | undefined
  const pause = new Promise<void>((resolve) => {
    onAbort = () => resolve()
    timer = setTimeout(onAbort, ms)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  await Promise.race([pause, ...running])
  clearTimeout(timer)
  if (onAbort) signal.removeEventListener('abort', onAbort)
}
