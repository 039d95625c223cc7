import type { Address, Hex } from '@protocolbanks/stream-protocol'

export type GatewaysOptions = {
  /** The first that answers does it for all. */
  gatewayUrls: readonly string[]
  apiKey: string
  timeoutMs: number
  fetch?: typeof fetch | undefined
}

type Target = { sessionKey: Address; grantId: Hex }

/** Freezes or removes a grant at the gateways, for all payees: from the answer on none of them serves it. */
export type RefuseGrant = (stop: Target & { kind: 'freeze' | 'revoke'; reason: string }) => Promise<void>

/** Lifts the sentinel's own hold of a grant, and nobody else's. */
export type AdmitGrant = (grant: Target) => Promise<void>

/** @returns throws when no gateway did it; repeating it does no harm */
export function createRefuseGrant(options: GatewaysOptions): RefuseGrant {
  return ({ sessionKey, grantId, kind, reason }) => {
    const path = `/api/session-keys/${sessionKey}`
    const body = { reason: reason.slice(0, 200), holder: 'sentinel' }
    if (kind === 'revoke') return askFirst(options, { method: 'DELETE', path, grantId, body })
    return askFirst(options, { method: 'POST', path: `${path}/freeze`, grantId, body })
  }
}

/** @returns throws when no gateway did it; repeating it does no harm */
export function createAdmitGrant(options: GatewaysOptions): AdmitGrant {
  return ({ sessionKey, grantId }) => {
    const path = `/api/session-keys/${sessionKey}/unfreeze`
    return askFirst(options, { method: 'POST', path, grantId, body: { holder: 'sentinel' } })
  }
}

async function askFirst(
  { gatewayUrls, apiKey, timeoutMs, fetch: ask = fetch }: GatewaysOptions,
  { method, path, grantId, body }: { method: 'POST' | 'DELETE'; path: string; grantId: Hex; body: unknown },
): Promise<void> {
  const problems: string[] = []
  for (const gateway of gatewayUrls) {
    const url = new URL(path, gateway)
    url.searchParams.set('grantId', grantId)
    try {
      const response = await ask(url, {
        method,
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(timeoutMs),
      })
      const answer = await response.text()
      // Removed for good is more than frozen.
      if (response.ok || answer.includes('"grant.removed"')) return
      problems.push(`${response.status} ${answer.slice(0, 200)}`)
    } catch (error) {
      problems.push(error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error))
    }
  }
  throw new Error(`No gateway answered ${method} ${path} for the grant ${grantId}: ${problems.join('; ')}`)
}
