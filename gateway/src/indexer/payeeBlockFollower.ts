import { type Db, listAccountsOfPayee, listPayeeBlockChanges } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { AccountMirror } from './accountMirror.ts'

export type PayeeBlockFollowerDeps = {
  db: Db
  token: Address
  clock(): number
  mirror: Pick<AccountMirror, 'markDirty'>
}

/** Changes are looked for in this much of the past: whoever wrote one may have committed it late, or by another clock. */
const windowMs = 600_000
const accountsPerPage = 1_000

/**
 * Sees that a token stopped paying a payee, or pays again, and has the accounts that can pay this payee copied to the meter.
 * `follow` answers how many changes were new.
 */
export function createPayeeBlockFollower({ db, token, clock, mirror }: PayeeBlockFollowerDeps): {
  follow(): Promise<number>
} {
  /** Bounded by the changes of the window, of which Postgres gives 1,000 at most. */
  let seen = new Map<Address, number>()

  async function markAccounts(payee: Address): Promise<void> {
    let after: Address | undefined
    do {
      const accounts = await listAccountsOfPayee(db, { token, payee, after, limit: accountsPerPage })
      mirror.markDirty(accounts)
      after = accounts.length === accountsPerPage ? accounts.at(-1) : undefined
    } while (after !== undefined)
  }

  return {
    async follow() {
      const changes = (await listPayeeBlockChanges(db, new Date(clock() - windowMs))).filter(
        (change) => change.token === token,
      )
      const fresh = changes.filter(({ payee, changedAt }) => seen.get(payee) !== changedAt.getTime())
      for (const { payee } of fresh) await markAccounts(payee)
      seen = new Map(changes.map(({ payee, changedAt }) => [payee, changedAt.getTime()]))
      return fresh.length
    },
  }
}
