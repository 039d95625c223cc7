import {
  bumpFees,
  InvalidNonceError,
  readNonce,
  sponsoredUntil,
  UserOperationTimeoutError,
} from '@protocolbanks/stream-bundler-client'
import { decideOperation, type OperationStep } from './decideOperation.ts'
import { NonceUsedError, OperationDroppedError } from './errors.ts'
import type { FoundOutcome } from './findOutcomes.ts'
import { firstLine } from './judgeFailure.ts'
import { type Flight, type Look, prepareFlight, withinLimit } from './look.ts'

export type FlightEnd =
  | { kind: 'included'; found: FoundOutcome; flight: Flight }
  /** The time is over, or the look was told to stop. It can still be included. */
  | { kind: 'pending' }

export type FlightSteps = {
  /** Another operation for the same settlement, recorded. */
  build(): Promise<Flight>
  /** What was included of all that was ever sent. */
  find(): Promise<FoundOutcome | undefined>
}

/** Between two questions where an operation stands. Its inclusion is seen earlier. */
const checkMs = 2_000
/** One look sends the same operation so often: a bundler that drops it again gets another one. */
const maxSends = 2
/** Each costs an eighth more than the one before, so that the fee limit ends it earlier. */
const maxVersions = 32

/**
 * Sends an operation and sees it through until any of its versions is included: what the bundler lost is sent again as it
 * was, what is stuck is replaced under the same nonce with higher fees and a new sponsorship. Every version is recorded
 * before it is sent.
 *
 * @throws OperationDroppedError, NonceUsedError: another has to be built. What the bundler, the paymaster, the chain and
 * the database say
 */
export async function driveOperation(first: Flight, look: Look, { build, find }: FlightSteps): Promise<FlightEnd> {
  const { work, store, deps, signal } = look
  const { settlement, grant } = work
  const { adapter, bundler, sponsor } = await deps.accessTo(grant.account)
  const deadline = performance.now() + deps.inclusionTimeoutMs
  const told = { settlement: settlement.id, grantId: grant.grantId }
  let flight = first
  let sends = 0
  let hasComplained = false

  while (!signal.aborted && performance.now() < deadline) {
    const step = await decide()
    if (step === 'send') await send()
    if (step === 'replace') await replace()
    if (step === 'rebuild') await take(await build())
    if (step === 'lose' || (await isWorthLooking())) {
      const found = await find()
      if (found) return { kind: 'included', found, flight }
      if (step === 'lose') {
        const { userOpHash, userOperation } = flight
        throw new NonceUsedError({ userOpHash, nonce: userOperation.nonce })
      }
    }
  }
  return { kind: 'pending' }

  async function decide(): Promise<OperationStep> {
    const { userOperation, userOpHash, sentAt } = flight
    const { lane } = adapter.fromNonce(userOperation.nonce)
    const lookup = { adapter, account: grant.account, validator: deps.module, lane }
    const [nextNonce, isPending] = await Promise.all([readNonce(deps.chain, lookup), deps.isPending(userOpHash)])
    // Sent by somebody who did not come to write it down.
    if (isPending && sentAt === undefined) await noteSent()
    const now = deps.clock()
    const until = sponsoredUntil(userOperation)
    const view = {
      nonce: userOperation.nonce,
      nextNonce,
      isPending,
      sentAgoMs: sentAt === undefined ? undefined : now - sentAt,
      sponsoredForMs: until === undefined ? undefined : until * 1_000 - now,
    }
    return decideOperation(view, deps)
  }

  async function send(): Promise<void> {
    const { userOperation, userOpHash, sentAt } = flight
    if (sends++ >= maxSends) throw new OperationDroppedError({ userOpHash })
    try {
      await bundler.send(userOperation)
    } catch (error) {
      // It has put an earlier version into a bundle. Whichever is included counts.
      if (!(error instanceof InvalidNonceError) || look.attempts.userOpHashes.length === 1) throw error
      deps.logger.warn({ ...told, userOpHash, reason: firstLine(error) }, 'the bundler keeps an earlier version')
      flight = { ...flight, sentAt: deps.clock() }
      return
    }
    deps.crashPoint('settlement.sent')
    await noteSent()
    deps.logger.info({ ...told, userOpHash, again: sentAt !== undefined }, 'submitted')
    deps.crashPoint('settlement.submitted')
  }

  async function noteSent(): Promise<void> {
    await store.submitted()
    flight = { ...flight, sentAt: flight.sentAt ?? deps.clock() }
  }

  /** Goes on with this one. */
  async function take(next: Flight): Promise<void> {
    flight = next
    sends = 0
    await send()
  }

  async function replace(): Promise<void> {
    const { userOperation, userOpHash, leftOut } = flight
    const isPending = await deps.isPending(userOpHash)
    const market = await bundler.fees()
    const fees = isPending ? bumpFees(userOperation, market, deps.maxFeePerGas) : withinLimit(market, deps.maxFeePerGas)
    if (!fees || look.attempts.userOpHashes.length >= maxVersions) {
      if (!hasComplained) deps.logger.error({ ...told, limit: `${deps.maxFeePerGas}` }, 'stuck at the limit of fees')
      hasComplained = true
      return
    }
    const { nonce, callData } = userOperation
    const next = await prepareFlight(look, { adapter, bundler, sponsor }, { nonce, callData, fees }, leftOut)
    deps.logger.warn({ ...told, userOpHash: next.userOpHash, maxFeePerGas: `${fees.maxFeePerGas}` }, 'stuck; replaced')
    await take(next)
  }

  /** True when the newest is included, and now and then when another could be. */
  async function isWorthLooking(): Promise<boolean> {
    const stuckInMs = flight.sentAt === undefined ? checkMs : flight.sentAt + deps.stuckMs - deps.clock()
    const timeoutMs = Math.max(Math.min(checkMs, stuckInMs, deadline - performance.now()), 50)
    try {
      await deps.watcher.wait(flight.userOpHash, { fromBlock: look.head ?? 0n, timeoutMs, signal })
      return true
    } catch (error) {
      if (!(error instanceof UserOperationTimeoutError)) throw error
      return look.attempts.count > 1
    }
  }
}
