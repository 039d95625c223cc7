export type SentinelWatchDeps = {
  /** When a sentinel that hears what is charged said so last. Undefined: never. */
  readHeartbeat(): Promise<Date | undefined>
  clock(): number
  /** Silence that is told; 0: no sentinel is expected. */
  silentSeconds: number
}

export type SentinelWatch = {
  /** Asks Postgres. While it does not answer, what was known counts. */
  refresh(): Promise<void>
  /** Since a sentinel was last heard; since this process began when none ever was. */
  silenceMs(): number
  /** For `GET /ready`: the gateway serves without a sentinel, and says what then holds. */
  note(): string
}

/** Whether somebody watches what is spent. Without a sentinel the hard limits hold, and the operator is told. */
export function createSentinelWatch({ readHeartbeat, clock, silentSeconds }: SentinelWatchDeps): SentinelWatch {
  const startedAtMs = clock()
  let heardAtMs: number | undefined

  const silenceMs = () => Math.max(0, clock() - (heardAtMs ?? startedAtMs))
  return {
    async refresh() {
      heardAtMs = (await readHeartbeat())?.getTime() ?? heardAtMs
    },
    silenceMs,
    note() {
      if (silentSeconds === 0) return 'none is expected'
      const seconds = Math.floor(silenceMs() / 1_000)
      if (seconds < silentSeconds) return 'ok'
      return `Not heard for ${seconds} s: nobody watches what is spent, only the hard limits hold.`
    },
  }
}
