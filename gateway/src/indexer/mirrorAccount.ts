import { type Db, loadAccountState, recentRequests } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Meter } from '../meter/meter.ts'

export type MirrorAccount = (account: Address, what: 'state' | 'state-and-requests') => Promise<boolean>

/** How long a request id is known, as the meter keeps it. */
const requestRetentionMs = 600_000

/**
 * Copies an account from Postgres to the meter: limits, freezes, funds, and what the journal has charged. With
 * `state-and-requests` also the request ids of the last ten minutes, for a meter that has lost them. False when Postgres
 * does not know the account.
 */
export function createMirrorAccount(options: { db: Db; meter: Meter; token: Address; now(): number }): MirrorAccount {
  const { db, meter, token, now } = options
  return async (account, what) => {
    const state = await loadAccountState(db, account, token)
    if (!state) return false
    const requests =
      what === 'state-and-requests' ? await recentRequests(db, account, now() - requestRetentionMs) : undefined
    await meter.mirror({ ...state, requests })
    return true
  }
}
