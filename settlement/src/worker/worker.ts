import type { Claimable, SettlementWork } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { SettleResult } from './settleOne.ts'

export type WorkerDeps = {
  /** Settlements that are due and nobody works on, now leased to us. */
  leaseDue(limit: number): Promise<SettlementWork[]>
  listClaimable(limit: number): Promise<Claimable[]>
  /** Which of these accounts have an open settlement, here or in another process. */
  listBusyAccounts(accounts: readonly Address[]): Promise<Address[]>
  /** Undefined: another worker came first, or nothing is owed any more. */
  claim(claimable: Claimable): Promise<SettlementWork | undefined>
  /** Never throws. */
  settle(work: SettlementWork, signal: AbortSignal): Promise<SettleResult>
  onResult(result: SettleResult, work: SettlementWork): void
  maxInFlight: number
  pollMs: number
  logger: Logger
}

export type Worker = {
  /** Works until `signal` aborts, then until what is in flight has come to a safe place. */
  run(signal: AbortSignal): Promise<void>
  inFlight(): number
}

/** Grants of one account follow each other; so more are listed than there are free places. */
const grantsPerPlace = 4

/** `lease what is due → claim what is owed → settle`, many accounts at once, one settlement of an account at a time. */
export function createWorker(deps: WorkerDeps): Worker {
  const { maxInFlight, pollMs, logger } = deps
  const running = new Map<string, { account: Address; done: Promise<void> }>()

  function start(work: SettlementWork, signal: AbortSignal): void {
    const { id, account } = work.settlement
    // Our own lease ran out while we were at it: whoever is at it goes on.
    if (running.has(id)) return
    const done = deps
      .settle(work, signal)
      .then((result) => deps.onResult(result, work))
      .finally(() => running.delete(id))
    running.set(id, { account, done })
  }

  async function step(signal: AbortSignal): Promise<void> {
    const free = () => maxInFlight - running.size
    if (free() > 0) for (const work of await deps.leaseDue(free())) start(work, signal)
    if (free() <= 0) return
    const claimable = await deps.listClaimable(free() * grantsPerPlace)
    if (claimable.length === 0) return
    const busy = new Set(await deps.listBusyAccounts(claimable.map(({ account }) => account)))
    for (const { account } of running.values()) busy.add(account)
    for (const one of claimable) {
      if (free() <= 0 || signal.aborted) return
      if (busy.has(one.account)) continue
      busy.add(one.account)
      const work = await deps.claim(one)
      if (work) start(work, signal)
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
        await pauseUntil(signal, pollMs, running.size >= maxInFlight ? [...running.values()] : [])
      }
      await Promise.all([...running.values()].map(({ done }) => done))
    },
  }
}

/** The pause between two steps; with every place taken it ends as soon as one is free. */
async function pauseUntil(signal: AbortSignal, ms: number, running: { done: Promise<void> }[]): Promise<void> {
  if (signal.aborted) return
  let timer: NodeJS.Timeout | undefined
  let onAbort: (() => void) | undefined
  const pause = new Promise<void>((resolve) => {
    onAbort = () => resolve()
    timer = setTimeout(onAbort, ms)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  await Promise.race([pause, ...running.map(({ done }) => done)])
  clearTimeout(timer)
  if (onAbort) signal.removeEventListener('abort', onAbort)
}
