import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type Log, parseEventLogs } from 'viem'
import { readErrorName } from './readErrorName.ts'

export type ClaimOutcome = {
  payee: Address
  /** What moved now, base units. */
  paid: bigint
  /** What the payee has in total under this grant; undefined for a claim that was skipped. */
  settled: bigint | undefined
  /** Why nothing moved: the name of the module's error, e.g. `NothingDue`. */
  skippedReason: string | undefined
}

/** What the module did with each claim of a grant, by its own events among the logs. */
export function readClaimOutcomes(
  logs: readonly Log[],
  { module, account, grantId }: { module: Address; account: Address; grantId: Hex },
): ClaimOutcome[] {
  const events = parseEventLogs({
    abi: sessionKeyValidatorAbi,
    logs: logs.filter(({ address }) => address.toLowerCase() === module.toLowerCase()),
    eventName: ['Settled', 'ClaimSkipped'],
    args: { account, grantId },
  })
  return events.map(({ eventName, args }): ClaimOutcome => {
    if (eventName === 'Settled') {
      return { payee: args.payee, paid: args.paid, settled: args.settled, skippedReason: undefined }
    }
    const skippedReason = readErrorName(sessionKeyValidatorAbi, args.reason)
    return { payee: args.payee, paid: 0n, settled: undefined, skippedReason }
  })
}
