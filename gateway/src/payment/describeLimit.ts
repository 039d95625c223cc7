import type { ExposureLimit, ReachedLimit, SpendingLimit, SpendingScope, SpendingWindow } from '../meter/meter.ts'
import { windowEndMs } from '../meter/spending.ts'

/** Of a refusal. The agent learns whose limit it was, and not how much a merchant trusts others with. */
export type DescribedLimit = { detail: string; retryAfterSeconds?: number }

const exposures: Record<ExposureLimit, string> = {
  grant: 'Limit: what one grant may owe this merchant.',
  account: 'Limit: what one account may owe this merchant.',
  merchant: 'Limit: what all accounts may owe this merchant.',
  operator_grant: 'Limit: what one grant may owe all merchants.',
  operator_account: 'Limit: what one account may owe all merchants.',
}

const scopes: Record<SpendingScope, string> = {
  service: 'of one grant at this service',
  payee: 'of this grant at this payee',
  grant: 'of this grant at all payees',
}

/** Which limit was reached, and for a window after how many seconds it ends. */
export function describeLimit(limit: ReachedLimit, nowMs: number): DescribedLimit {
  if (isExposure(limit)) return { detail: exposures[limit] }
  const { scope, window } = parse(limit)
  if (window === 'call') return { detail: `Limit: one call ${scopes[scope]}.` }
  const endMs = windowEndMs(window, nowMs)
  return {
    detail: `Limit: one ${window} ${scopes[scope]}. This one ends at ${new Date(endMs).toISOString()}.`,
    retryAfterSeconds: Math.max(1, Math.ceil((endMs - nowMs) / 1_000)),
  }
}

function isExposure(limit: ReachedLimit): limit is ExposureLimit {
  return limit in exposures
}

function parse(limit: SpendingLimit): { scope: SpendingScope; window: SpendingWindow | 'call' } {
  const [scope, window] = limit.split('_') as [SpendingScope, SpendingWindow | 'call']
  return { scope, window }
}
