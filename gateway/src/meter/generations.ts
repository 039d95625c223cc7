import { setTimeout as delay } from 'node:timers/promises'
import type { MeterGeneration } from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import { MeterUnavailableError } from './errors.ts'

/**
 * Which generation each partition counts in, and whether this process may use it now. A partition is open while the store
 * is, without a doubt, the one that the generation was opened on, with everything that was written since. See docs/adr.
 */
export type Generations = {
  /** The generation of a partition once it is open. @throws MeterUnavailableError when that takes too long */
  untilOpen(partition: number): Promise<number>
  /** The generation when the partition is open now. */
  current(partition: number): number | undefined
  /** Counts a command that depends on the generation; `leave` when it has ended. */
  enter(partition: number): void
  leave(partition: number): void
  /** Something is odd about the store: nothing is charged in the partition until it has been looked at. */
  suspect(partition: number): void
  /** Partitions that are not open. */
  readonly closedCount: number
  run(signal: AbortSignal): Promise<void>
}

/** What one look at the store's partition tells. */
export type StoreLook = {
  /** As the store has it; 0 when it has none. */
  generation: number
  /** Of the store's process; empty when it does not tell. */
  storeRun: string
  /** The store has forgotten something that it had acknowledged to this process. */
  wentBack: boolean
}

export type GenerationsDeps = {
  partitions: number
  /** In Postgres; see MeterRecords. */
  beat(acknowledged: readonly number[]): Promise<MeterGeneration[]>
  close(partition: number, generation: number, reason: string): Promise<void>
  open(partition: number, generation: number, storeRun: string): Promise<boolean>
  /** Whether the store can be asked at all now. */
  isReachable(): boolean
  look(partition: number): Promise<StoreLook>
  /** Journals what this process charged in earlier generations. Answers how many charges were new in the journal. */
  flush(partition: number, generation: number): Promise<number>
  /** Journals what processes that are gone left in the store, and begins the generation there. Answers the store's run. */
  begin(row: MeterGeneration): Promise<string>
  /** From now on the partition counts in this generation. */
  adopt(partition: number, generation: number): void
  logger: Logger
  /** Between two signs of life in Postgres. */
  beatMs?: number | undefined
  /** How long a request waits for its partition. */
  waitMs?: number | undefined
}

/** Until a closed partition is looked at again. */
const hurryMs = 50
const maxBackOffMs = 1_000
/** Requests that wait for their partitions at most; more are refused at once. */
const maxWaiting = 10_000

export function createGenerations(deps: GenerationsDeps): Generations {
  const { logger, beatMs = 1_000, waitMs = 2_000 } = deps
  const all = Array.from(
    { length: deps.partitions },
    (_, index): PartitionState => ({
      index,
      generation: 0,
      acknowledged: 0,
      storeRun: '',
      isOpen: false,
      commands: 0,
    }),
  )
  const waiting = new Set<() => void>()
  let wake: (() => void) | undefined
  let failures = 0

  function stateOf(partition: number): PartitionState {
    const state = all[partition]
    if (!state) throw new Error(`There is no partition ${partition}.`)
    return state
  }

  function opened(state: PartitionState) {
    state.isOpen = true
    for (const resume of [...waiting]) resume()
  }

  async function untilOpen(partition: number): Promise<number> {
    const state = stateOf(partition)
    if (state.isOpen) return state.generation
    if (waiting.size >= maxWaiting) throw rebuilt(partition)
    const timeout = AbortSignal.timeout(waitMs)
    while (!state.isOpen) {
      await new Promise<void>((resolve) => {
        const resume = () => {
          waiting.delete(resume)
          timeout.removeEventListener('abort', resume)
          resolve()
        }
        waiting.add(resume)
        timeout.addEventListener('abort', resume)
        if (timeout.aborted) resume()
      })
      if (timeout.aborted && !state.isOpen) throw rebuilt(partition)
    }
    return state.generation
  }

  /** The store as the generation needs it: undefined, or what is wrong. */
  async function wrongWith(state: PartitionState, generation: number, storeRun: string): Promise<string | undefined> {
    const look = await deps.look(state.index)
    if (look.generation === 0) return 'the store is empty'
    if (look.generation !== generation) return `the store counts in generation ${look.generation}`
    if (look.storeRun !== storeRun) return 'the store was restarted or replaced'
    if (look.wentBack) return 'the store has gone back in time'
    return undefined
  }

  /** A partition that was suspected and is as it was goes on without Postgres. */
  async function lookAgain(state: PartitionState): Promise<void> {
    if (state.isOpen || state.generation === 0 || state.acknowledged > state.generation || !deps.isReachable()) return
    if ((await wrongWith(state, state.generation, state.storeRun)) === undefined) opened(state)
  }

  async function follow(row: MeterGeneration): Promise<void> {
    const state = stateOf(row.partition)
    const isNew = row.generation !== state.generation
    if (state.isOpen && !isNew && row.state === 'open') return
    if (state.isOpen) {
      logger.debug({ partition: row.partition, generation: row.generation }, 'a generation of the meter has ended')
      state.isOpen = false
    }
    if (state.acknowledged < row.generation) {
      // Commands end in bounded time; what they charge belongs to the generation before.
      if (state.commands > 0) return
      const late = await deps.flush(row.partition, row.generation)
      state.acknowledged = row.generation
      if (row.state === 'open' && late > 0) {
        // Opened without these charges, because this process was taken for dead.
        return deps.close(row.partition, row.generation, `${late} charges came late`)
      }
    }
    if (!deps.isReachable()) return
    if (row.state === 'open') {
      const wrong = await wrongWith({ ...state }, row.generation, row.storeRun)
      if (wrong !== undefined) return deps.close(row.partition, row.generation, wrong)
      return take(state, row.generation, row.storeRun)
    }
    if (!row.ready) return
    const storeRun = await deps.begin(row)
    if (!(await deps.open(row.partition, row.generation, storeRun))) return
    logger.info({ partition: row.partition, generation: row.generation }, 'the meter counts in a new generation')
    take(state, row.generation, storeRun)
  }

  function take(state: PartitionState, generation: number, storeRun: string) {
    if (generation !== state.generation) deps.adopt(state.index, generation)
    state.generation = generation
    state.storeRun = storeRun
    opened(state)
  }

  async function step(): Promise<void> {
    // One node of a store that is gone makes this process neither dead nor blind for the others.
    const looked = settled(all.map(lookAgain))
    await looked.catch(() => {})
    const rows = await deps.beat(all.map(({ acknowledged }) => acknowledged))
    await settled([looked, ...rows.filter(({ partition }) => partition < all.length).map(follow)])
  }

  return {
    untilOpen,
    current(partition) {
      const { isOpen, generation } = stateOf(partition)
      return isOpen ? generation : undefined
    },
    enter(partition) {
      stateOf(partition).commands += 1
    },
    leave(partition) {
      stateOf(partition).commands -= 1
    },
    suspect(partition) {
      stateOf(partition).isOpen = false
      wake?.()
    },
    get closedCount() {
      return all.filter(({ isOpen }) => !isOpen).length
    },
    async run(signal) {
      while (!signal.aborted) {
        try {
          await step()
          if (failures > 0) logger.info({ failures }, 'the generations of the meter are known again')
          failures = 0
        } catch (err) {
          failures += 1
          if (failures === 1) logger.warn({ err }, 'the generations of the meter cannot be read')
        }
        const hurry = all.some(({ isOpen }) => !isOpen)
        const pauseMs =
          failures > 0 ? Math.min(maxBackOffMs, hurryMs * 2 ** Math.min(failures, 5)) : hurry ? hurryMs : beatMs
        await pause(pauseMs, signal)
      }
    },
  }

  /** Until the time is over, or a suspicion while it was long. */
  async function pause(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    if (ms > hurryMs && failures === 0) wake = () => woken.abort()
    await delay(ms, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => {})
    wake = undefined
  }
}

type PartitionState = {
  index: number
  /** The one that this process counts in; 0: none yet. */
  generation: number
  /** All charges of generations before this one are journalled. */
  acknowledged: number
  storeRun: string
  isOpen: boolean
  /** Commands that are under way and depend on the generation. */
  commands: number
}

/** Waits for all, then throws the first failure: one partition's does not stop the others. */
async function settled(work: Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason
}

function rebuilt(partition: number): MeterUnavailableError {
  return new MeterUnavailableError('The meter is being rebuilt.', {
    metaMessages: [
      `Partition ${partition}: its store has to be looked at, or filled from Postgres.`,
      'Repeat the request with the same id.',
    ],
  })
}
