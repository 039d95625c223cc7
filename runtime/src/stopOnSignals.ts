import type { Logger } from 'pino'

export type StopOptions = {
  /** Ends what the process is at. Called once. */
  stop(): Promise<void>
  /** What `stop` may take; then the process ends with code 1, whatever is left. */
  drainMs: number
  logger: Logger
}

/** Ends the process in order at SIGTERM or SIGINT: code 0 when `stop` came to its end, 1 when it failed or took too long. */
export function stopOnSignals({ stop, drainMs, logger }: StopOptions): void {
  let isStopping = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (isStopping) return
      isStopping = true
      logger.info({ signal }, 'stopping')
      setTimeout(() => {
        logger.error({ drainMs }, 'not everything came to its end in time; stopping anyway')
        process.exit(1)
      }, drainMs).unref()
      stop().then(
        () => process.exit(0),
        (err: unknown) => {
          logger.error({ err }, 'stopping failed')
          process.exit(1)
        },
      )
    })
  }
}
