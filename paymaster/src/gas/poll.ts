/** Runs `step` again and again, `everyMs` after its end, until the signal aborts. A step that throws is told and repeated. */
export async function poll(
  step: () => Promise<unknown>,
  { everyMs, signal, onError }: { everyMs: number; signal: AbortSignal; onError(error: unknown): void },
): Promise<void> {
  while (!signal.aborted) {
    await step().catch(onError)
    await pause(everyMs, signal)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', finish)
      resolve()
    }
    const timer = setTimeout(finish, ms)
    signal.addEventListener('abort', finish, { once: true })
  })
}
