import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { Meter } from '../meter/meter.ts'

export type RefusedGrant = { account: Address; grantId: Hex }

/** Has the meter refuse these grants from the answer on. */
export type RefuseAtOnce = (grants: readonly RefusedGrant[]) => Promise<void>

export type RefuseAtOnceDeps = {
  meter: Pick<Meter, 'refuse'>
  /** Copies what Postgres says of an account to the meter. */
  mirrorAccount(account: Address): Promise<boolean>
  logger: Logger
  /** What nobody has recorded by then is lifted again. 3,000 by default. */
  recordWithinMs?: number | undefined
}

/** Accounts that wait to be looked at again; beyond that a refusal is the record's to make. */
const maxWaiting = 10_000

/**
 * The short way of a stop: one step of the meter, with nothing asked of Postgres. It is no record: who asks for it records the
 * stop right after, and what Postgres says a moment later counts.
 *
 * @returns throws MeterUnavailableError when the meter does not answer
 */
export function createRefuseAtOnce(deps: RefuseAtOnceDeps): RefuseAtOnce {
  const { meter, mirrorAccount, logger, recordWithinMs = 3_000 } = deps
  const waiting = new Set<Address>()

  function lookAgain(account: Address): void {
    waiting.add(account)
    setTimeout(async () => {
      waiting.delete(account)
      try {
        await mirrorAccount(account)
      } catch (err) {
        // Postgres is gone, or the meter: rather refused for too long than served.
        logger.warn({ err, account }, 'a refusal cannot be compared with Postgres yet')
        if (waiting.size < maxWaiting) lookAgain(account)
      }
    }, recordWithinMs).unref()
  }

  return async (grants) => {
    for (const { account } of grants) {
      if (waiting.has(account)) continue
      if (waiting.size >= maxWaiting) return
      lookAgain(account)
    }
    await Promise.all(grants.map(({ account, grantId }) => meter.refuse(account, grantId)))
  }
}
