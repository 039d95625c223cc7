import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { BaseError } from '@protocolbanks/stream-protocol'
import type { ReadyCheck } from './ready.ts'
import { reaper } from './reaper.ts'

export type StartProcessOptions = {
  /** What the program is called in messages. */
  name: string
  command: string
  args: string[]
  /** The whole environment of the program; ours is not passed on, except PATH, HOME and TMPDIR. */
  env?: Record<string, string>
  cwd?: string
  /** Run as another user, which only root may. */
  user?: { uid: number; gid: number }
  /** Gets standard output and standard error, appended. */
  logFile: string
  ready: ReadyCheck
  /** How long the program may take until it is ready. 60 seconds by default. */
  timeoutMs?: number
  /** What asks the program to end. SIGTERM by default. */
  stopSignal?: NodeJS.Signals
  /** How long it may take to end before it gets SIGKILL. 5 seconds by default. */
  stopTimeoutMs?: number
}

export type ProcessExit = { code: number | null; signal: NodeJS.Signals | null }

export type RunningProcess = {
  name: string
  pid: number
  logFile: string
  /** Settles when the program has ended, whoever ended it. */
  exited: Promise<ProcessExit>
  /** Sends a signal to the program and what it started. Does nothing when it is gone. */
  signal(signal: NodeJS.Signals): void
  /** Asks it to end, kills it when it does not; returns when it is gone. */
  stop(): Promise<void>
}

const pollMs = 20
const logLinesInErrors = 30

/**
 * Starts a program and waits until it is ready. The program leads a process group of its own, which ends with this
 * process in any case (see reaper.ts): there are no orphans.
 *
 * @throws ProcessStartError when it cannot be run, ends early, or is not ready in time. It is gone then.
 */
export async function startProcess(options: StartProcessOptions): Promise<RunningProcess> {
  const { name, command, args, logFile, ready, timeoutMs = 60_000 } = options
  const { stopSignal = 'SIGTERM', stopTimeoutMs = 5_000 } = options

  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(command, args, {
    env: { ...inheritedEnv(), ...options.env },
    stdio: ['ignore', log, log],
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...options.user,
  })
  closeSync(log)
  const { pid } = child
  if (pid === undefined) {
    const cause = await new Promise((resolve) => child.once('error', resolve))
    throw new ProcessStartError({ name, command, what: 'could not be run', log: '', cause })
  }
  reaper.watch(pid, stopSignal)

  let ended: ProcessExit | undefined
  const exited = new Promise<ProcessExit>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = { code, signal }
      killGroup(pid, 'SIGKILL') // what it started and left behind
      reaper.forget(pid)
      resolve(ended)
    })
  })

  const signal = (which: NodeJS.Signals) => {
    if (!ended) killGroup(pid, which)
  }
  const stop = async () => {
    signal(stopSignal)
    const deadline = new AbortController()
    const timer = sleep(stopTimeoutMs, undefined, { signal: deadline.signal }).then(
      () => signal('SIGKILL'),
      () => {},
    )
    await exited
    deadline.abort()
    await timer
  }

  const startedAt = performance.now()
  while (!(await ready({ logFile })) || ended) {
    if (ended || performance.now() - startedAt > timeoutMs) {
      const what = ended
        ? `ended with ${ended.signal ?? `code ${ended.code}`} before it was ready`
        : `was not ready after ${timeoutMs} ms`
      await stop()
      throw new ProcessStartError({ name, command, what, log: await tail(logFile) })
    }
    await Promise.race([sleep(pollMs), exited])
  }
  return { name, pid, logFile, exited, signal, stop }
}

/** What every program may know of us: where programs, the home directory and temporary files are. */
function inheritedEnv(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR']
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

function killGroup(groupId: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-groupId, signal)
  } catch {
    // No such group: everybody in it has ended.
  }
}

async function tail(logFile: string): Promise<string> {
  const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n')
  return lines.slice(-logLinesInErrors).join('\n')
}

export class ProcessStartError extends BaseError {
  readonly code = 'dev.process-start'
  constructor(p: { name: string; command: string; what: string; log: string; cause?: unknown }) {
    super(`${p.name} ${p.what}.`, {
      metaMessages: [`Program: ${p.command}`, ...(p.log ? ['Its last words:', p.log] : [])],
      ...(p.cause === undefined ? {} : { cause: p.cause }),
    })
  }
}
