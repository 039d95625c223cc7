import { createPayingFetch } from '@protocolbanks/stream-sdk'
import type { Budget } from './giveBudget.ts'

/** A paying fetch with the budget's session key. */
export function agentOf({ agentGrant, sessionPrivateKey }: Budget): typeof fetch {
  return createPayingFetch({ sessionKey: sessionPrivateKey, grant: agentGrant })
}

/** Calls as fast as it can, and says how often it was served and why not any more. */
export async function callUntilRefused(pay: typeof fetch, url: string): Promise<{ served: number; refusal: string }> {
  for (let served = 0; served < 2_000; served++) {
    const answer = await pay(url).catch(codeOf)
    if (!(answer instanceof Response)) return { served, refusal: answer }
  }
  throw new Error('Nobody stopped the agent within 2,000 calls.')
}

/** Of a refusal, or what else went wrong. */
export function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error)
}
