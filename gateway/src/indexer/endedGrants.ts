import { type Db, listEndedAccounts } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Meter } from '../meter/meter.ts'
import type { AccountMirror } from './accountMirror.ts'

export type EndedGrants = {
  /** Has the accounts of grants that ended a while ago copied once more, when it is time. */
  follow(): Promise<void>
}

export type EndedGrantsDeps = {
  db: Db
  meter: Pick<Meter, 'holds'>
  mirror: Pick<AccountMirror, 'markDirty'>
  token: Address
  clock(): number
  accountsPerPage?: number
}

const intervalMs = 600_000
/** By then calls that were under way are journalled, and what was sent to the chain is there. */
const settledAfterMs = 3_600_000
/** What ended while nobody looked. */
const lookBackMs = 86_400_000

/**
 * A copy lets a grant leave the meter only if it owes nothing. Nothing on the chain says that a call was released after the last copy,
 * or that a grant is past its end: so each is looked at once more then.
 */
export function createEndedGrants(deps: EndedGrantsDeps): EndedGrants {
  const { db, meter, mirror, token, clock, accountsPerPage = 1_000 } = deps
  let lookedAtMs = Number.NEGATIVE_INFINITY
  let from: Date | undefined

  return {
    async follow() {
      const nowMs = clock()
      if (nowMs < lookedAtMs + intervalMs) return
      const to = new Date(nowMs - settledAfterMs)
      from ??= new Date(to.getTime() - lookBackMs)
      let after: Address | undefined
      // Ends: each page begins after the one before.
      do {
        const page = await listEndedAccounts(db, { token, from, to, after, limit: accountsPerPage })
        // What has left already stays away.
        const held = await Promise.all(page.map((account) => meter.holds(account, token)))
        mirror.markDirty(page.filter((_, index) => held[index]))
        after = page.length === accountsPerPage ? page.at(-1) : undefined
      } while (after)
      from = to
      lookedAtMs = nowMs
    },
  }
}
