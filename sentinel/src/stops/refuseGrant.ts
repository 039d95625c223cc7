import type { Address, Hex } from '@protocolbanks/stream-protocol'

export type RefuseGrantOptions = {
  /** The first that answers does it for all. */
  gatewayUrls: readonly string[]
  apiKey: string
  timeoutMs: number
  fetch?: typeof fetch | undefined
}

/** Freezes or removes a grant at the gateways, for all payees: from the answer on none of them serves it. */
export type RefuseGrant = (stop: {
  sessionKey: Address
  grantId: Hex
  kind: 'freeze' | 'revoke'
  reason: string
}) => Promise<void>

/** @returns throws when no gateway did it; repeating it does no harm */
export function createRefuseGrant({
  gatewayUrls,
  apiKey,
  timeoutMs,
  fetch: ask = fetch,
}: RefuseGrantOptions): RefuseGrant {
  return async ({ sessionKey, grantId, kind, reason }) => {
    const path = kind === 'freeze' ? `/api/session-keys/${sessionKey}/freeze` : `/api/session-keys/${sessionKey}`
    const problems: string[] = []
    for (const gateway of gatewayUrls) {
      const url = new URL(path, gateway)
      url.searchParams.set('grantId', grantId)
      try {
        const response = await ask(url, {
          method: kind === 'freeze' ? 'POST' : 'DELETE',
          headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
          body: JSON.stringify({ reason: reason.slice(0, 200), holder: 'sentinel' }),
          signal: AbortSignal.timeout(timeoutMs),
        })
        const body = await response.text()
        // Removed for good is more than frozen.
        if (response.ok || body.includes('"grant.removed"')) return
        problems.push(`${response.status} ${body.slice(0, 200)}`)
      } catch (error) {
        problems.push(error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error))
      }
    }
    throw new Error(`No gateway refuses the grant ${grantId} yet: ${problems.join('; ')}`)
  }
}
