import { z } from 'zod'

export type ApplyHoldOptions = {
  /** The first that answers does it for all. */
  gatewayUrls: readonly string[]
  apiKey: string
  timeoutMs: number
  fetch?: typeof fetch | undefined
}

const answerSchema = z.looseObject({ is: z.enum(['placed', 'lifted', 'over']) })

/**
 * Has a gateway do what is due for a hold of a rule: from its answer on every gateway refuses the grant, or serves it again.
 * The gateway asks Postgres what is due, so that repeating it does no harm. @throws when no gateway did it
 */
export function createApplyHold({ gatewayUrls, apiKey, timeoutMs, fetch: ask = fetch }: ApplyHoldOptions) {
  return async (id: string): Promise<'placed' | 'lifted' | 'over'> => {
    const problems: string[] = []
    for (const gateway of gatewayUrls) {
      try {
        const response = await ask(new URL(`/api/rules/holds/${id}/apply`, gateway), {
          method: 'POST',
          headers: { authorization: `Bearer ${apiKey}` },
          signal: AbortSignal.timeout(timeoutMs),
        })
        const body = await response.text()
        if (response.ok) return answerSchema.parse(JSON.parse(body)).is
        problems.push(`${response.status} ${body.slice(0, 200)}`)
      } catch (error) {
        problems.push(error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error))
      }
    }
    throw new Error(`No gateway has done what is due for the hold ${id} yet: ${problems.join('; ')}`)
  }
}
