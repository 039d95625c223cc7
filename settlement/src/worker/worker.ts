import type { Claimable, SettlementWork } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { Batch, Route } from './route.ts'
import type { SettleResult } from './verdict.ts'

export type WorkerDeps = {
  /** Settlements that are due and nobody works on, now leased to us. */
  leaseDue(limit: number): Promise<SettlementWork[]>
  listClaimable(limit: number): Promise<Claimable[]>
  /** Which of these accounts have an open settlement, here or in another process. */
  listBusyAccounts(accounts: readonly Address[]): Promise<Address[]>
  /** Undefined: another worker came first, or nothing is owed any more. */
  claim(claimable: Claimable): Promise<SettlementWork | undefined>
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

/** `lease what is due → claim what is owed → settle`, many accounts at once, one settlement of an account at a time. */
export function createWorker(deps: WorkerDeps): Worker {
  const { route, pollMs, logger } = deps
  const { maxBatches, batchSize } = route
  const running = new Map<string, Address>()
  const batches = new Set<Promise<void>>()

  function start({ works: all, transaction }: Batch, signal: AbortSignal): void {
    // Our own lease ran out while we were at it: whoever is at it goes on.
    const works = all.filter(({ settlement }) => !running.has(settlement.id))
    if (works.length === 0 && !transaction) return
    for (const { settlement } of works) running.set(settlement.id, settlement.account)
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
    // What is leased or claimed is begun, also when the next question fails.
    try {
      if (filler.room() > 0) for (const work of await deps.leaseDue(filler.room())) filler.add(work)
      if (filler.room() > 0) await claimInto(filler, signal)
    } finally {
      filler.flush()
    }
  }

  async function claimInto(filler: ReturnType<typeof createFiller>, signal: AbortSignal): Promise<void> {
    const claimable = await deps.listClaimable(filler.room() * grantsPerPlace)
    if (claimable.length === 0) return
    const busy = new Set(await deps.listBusyAccounts(claimable.map(({ account }) => account)))
    for (const account of running.values()) busy.add(account)
    for (const one of claimable) {
      if (filler.room() <= 0 || signal.aborted) return
      if (busy.has(one.account)) continue
      busy.add(one.account)
      const work = await deps.claim(one)
      if (work) filler.add(work)
    }
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
