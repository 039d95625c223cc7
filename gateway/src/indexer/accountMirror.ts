import { type Db, type GrantState, loadAccountState, recentRequests, withAccountLock } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { ChargedRequestState, Meter } from '../meter/meter.ts'

/** Copies accounts from Postgres to the meter. */
export type AccountMirror = {
  /**
   * Everything Postgres knows of the account now is in the meter when this resolves, and in a meter that did not hold it the
   * request ids of the last minutes too: no retry may find its id unused. False when Postgres does not know the account. When it throws the account stays dirty, and `flush` tries again.
   */
  mirrorAccount(account: Address): Promise<boolean>
  /** The same for a meter that does not know a grant: brings the request ids in any case. */
  restoreAccount(account: Address): Promise<boolean>
  /** These are to be copied by the next `flush`. */
  markDirty(accounts: Iterable<Address>): void
  /** Copies up to `limit` dirty accounts; those that fail stay dirty. Never throws. Answers how many are dirty still. */
  flush(limit: number): Promise<number>
}

export type AccountMirrorDeps = {
  db: Db
  meter: Meter
  token: Address
  clock(): number
  logger: Logger
  /** How long the meter remembers request ids. */
  requestRetentionMs?: number
}

/** Each holds two of the pool's connections while it runs. */
const maxAtOnce = 2

/**
 * One copy of an account at a time, over all processes: a freeze that is in Postgres can never be undone by a copy that
 * was read before it.
 */
export function createAccountMirror(deps: AccountMirrorDeps): AccountMirror {
  const { db, meter, token, clock, logger, requestRetentionMs = 600_000 } = deps
  const dirty = new Set<Address>()
  const limited = createLimit(maxAtOnce)
  const mirror = coalesce((account) => limited(() => copy(account, { withRequests: false })))
  const restore = coalesce((account) => limited(() => copy(account, { withRequests: true })))

  async function copy(account: Address, { withRequests }: { withRequests: boolean }): Promise<boolean> {
    dirty.add(account)
    // Before anything is read: a meter that is rebuilt meanwhile needs what was journalled for that.
    const epoch = await meter.epoch?.(account)
    const isLost = withRequests || !(await meter.holds(account, token))
    const known = await withAccountLock(db, account, async () => {
      const [state, requests] = await Promise.all([
        loadAccountState(db, account, token),
        isLost ? readRequests(account) : undefined,
      ])
      if (!state) return false
      const grants = state.grants.map((grant) =>
        hasEnded(grant, clock()) ? { ...grant, ended: true as const } : grant,
      )
      await meter.mirror({ ...state, grants, requests, epoch })
      return true
    })
    dirty.delete(account)
    return known
  }

  async function readRequests(account: Address): Promise<ChargedRequestState[]> {
    return recentRequests(db, account, clock() - requestRetentionMs)
  }

  return {
    mirrorAccount: mirror,
    restoreAccount: restore,
    markDirty(accounts) {
      for (const account of accounts) dirty.add(account)
    },
    async flush(limit) {
      const batch = [...dirty].slice(0, limit)
      const results = await Promise.allSettled(batch.map(mirror))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) logger.warn({ err: failed.reason, dirty: dirty.size }, 'accounts could not be copied to the meter')
      return dirty.size
    },
  }
}

/** Whether it can be charged no more, and owes nothing by the journal. */
function hasEnded({ status, validUntil, channels }: GrantState, nowMs: number): boolean {
  const isOver = status === 'revoked' || validUntil * 1_000 < nowMs
  return isOver && channels.every(({ charged, settled }) => charged <= settled)
}

/**
 * Runs `run` once at a time per account. Whoever comes while it runs waits for a run that starts after, which all that
 * came meanwhile share: it sees what they had written before.
 */
function coalesce<T>(run: (account: Address) => Promise<T>): (account: Address) => Promise<T> {
  const running = new Map<Address, Promise<T>>()
  const waiting = new Map<Address, Promise<T>>()
  function start(account: Address): Promise<T> {
    waiting.delete(account)
    const result = run(account)
    running.set(account, result)
    const forget = () => {
      if (running.get(account) === result) running.delete(account)
    }
    result.then(forget, forget)
    return result
  }
  return (account) => {
    const current = running.get(account)
    if (!current) return start(account)
    const next =
      waiting.get(account) ??
      current.then(
        () => start(account),
        () => start(account),
      )
    waiting.set(account, next)
    return next
  }
}

/** At most `max` at once; the others wait in order. */
function createLimit(max: number): <T>(run: () => Promise<T>) => Promise<T> {
  let free = max
  const queue: (() => void)[] = []
  return async (run) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => queue.push(resolve))
    try {
      return await run()
    } finally {
      const next = queue.shift()
      if (next) next()
      else free++
    }
  }
}
