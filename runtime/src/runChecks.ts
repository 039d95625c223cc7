/**
 * Checks that run together, each bounded in time: 'ok', or what is wrong in one sentence.
 *
 * @example await runChecks({ postgres: () => db.ping() }, 2_000) // { postgres: 'ok' }
 */
export async function runChecks(
  checks: Readonly<Record<string, () => Promise<void>>>,
  timeoutMs: number,
): Promise<Record<string, string>> {
  const entries = Object.entries(checks).map(async ([name, check]): Promise<[string, string]> => {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    })
    try {
      await Promise.race([check(), timeout])
      return [name, 'ok']
    } catch (error) {
      return [name, firstLine(error)]
    } finally {
      clearTimeout(timer)
    }
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** The first line only: what follows in viem's messages has addresses, which carry keys. */
function firstLine(error: unknown): string {
  if (!(error instanceof Error)) return 'failed'
  const { shortMessage } = error as { shortMessage?: unknown }
  const text = typeof shortMessage === 'string' ? shortMessage : error.message
  return text.split('\n')[0]?.slice(0, 200) || error.name
}
