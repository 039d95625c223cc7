import { setTimeout as delay } from 'node:timers/promises'
import { type ProcessExit, type RunningProcess, startProcess } from '@protocolbanks/stream-dev'

export type SupervisedOptions = {
  name: string
  args: string[]
  env: Record<string, string>
  cwd: string
  logFile: string
}

/** A program that is started again whenever it ends, as compose's `restart: always` does. */
export type Supervised = {
  name: string
  starts(): number
  /** When it ended last, in milliseconds since 1970; 0: never. */
  endedAt(): number
  /** Ends that nobody here asked for and no crash point explains, of a program that had run for a while. */
  surprises: string[]
  /** SIGKILL; returns when it has ended. The next one starts with `env` added, once. */
  kill(env?: Record<string, string>): Promise<void>
  signal(signal: NodeJS.Signals): void
  /** Until it ends by itself. @throws after `timeoutMs` */
  untilEnded(timeoutMs: number): Promise<ProcessExit>
  /** SIGTERM, for good. */
  stop(): Promise<void>
}

/** Docker's: from 100 ms on, doubled with each end, until it has run for 10 s. Its most is a minute; here a run is short. */
const firstPauseMs = 100
const maxPauseMs = 5_000
const steadyMs = 10_000

export async function supervise(options: SupervisedOptions): Promise<Supervised> {
  const { name, args, env, cwd, logFile } = options
  const surprises: string[] = []
  const waiting = new Set<(exit: ProcessExit) => void>()
  const stopping = new AbortController()
  let running: RunningProcess | undefined
  let more: Record<string, string> = {}
  let starts = 0
  let endedAt = 0
  let isExpected = false

  async function start(): Promise<RunningProcess> {
    const added = more
    more = {}
    isExpected = Object.keys(added).length > 0
    starts++
    const ready = async () => true
    const all = { ...env, ...added }
    return startProcess({ name, command: process.execPath, args, env: all, cwd, logFile, ready, stopTimeoutMs: 15_000 })
  }

  async function keepRunning(first: RunningProcess): Promise<void> {
    let failures = 0
    let current = first
    for (;;) {
      running = current
      const startedAt = Date.now()
      const exit = await current.exited
      running = undefined
      endedAt = Date.now()
      if (stopping.signal.aborted) return
      const wasSteady = endedAt - startedAt > steadyMs
      if (wasSteady && !isExpected) surprises.push(`${name} ended by itself (${exit.signal ?? `code ${exit.code}`})`)
      failures = wasSteady ? 0 : failures + 1
      for (const tell of [...waiting]) tell(exit)
      await delay(Math.min(maxPauseMs, firstPauseMs * 2 ** Math.max(0, failures - 1)), undefined, stopping).catch(
        () => {},
      )
      if (stopping.signal.aborted) return
      current = await start()
    }
  }

  const keeping = keepRunning(await start())
  async function untilRunning(): Promise<RunningProcess> {
    while (!running) await delay(20)
    return running
  }
  return {
    name,
    starts: () => starts,
    endedAt: () => endedAt,
    surprises,
    async kill(added = {}) {
      const victim = await untilRunning()
      isExpected = true
      more = added
      victim.signal('SIGKILL')
      await victim.exited
    },
    signal: (signal) => running?.signal(signal),
    untilEnded(timeoutMs) {
      return new Promise((resolve, reject) => {
        const done = (exit: ProcessExit) => {
          waiting.delete(done)
          clearTimeout(timer)
          resolve(exit)
        }
        const timer = setTimeout(() => {
          waiting.delete(done)
          reject(new Error(`${name} did not end within ${timeoutMs} ms.`))
        }, timeoutMs)
        waiting.add(done)
      })
    },
    async stop() {
      stopping.abort()
      running?.signal('SIGCONT')
      await running?.stop()
      await keeping
    },
  }
}
