import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { parseEventLogs, type TransactionReceipt } from 'viem'
import type { StopView } from './decideStop.ts'

/** Whether this event stops the grant in this way; a revocation is also a freeze. */
export type Proofs = (stop: { account: Address; grantId: Hex; kind: 'freeze' | 'revoke' }) => StopView['proof']

/** What the module's own events in these receipts prove to have been stopped by this guardian. */
export function readProofs(
  receipts: readonly Pick<TransactionReceipt, 'logs'>[],
  { module, guardian }: { module: Address; guardian: Address },
): Proofs {
  const found = new Map<string, NonNullable<StopView['proof']>>()
  const logs = receipts.flatMap((receipt) => receipt.logs)
  const own = logs.filter(({ address }) => address.toLowerCase() === module.toLowerCase())
  const eventName: ('GrantFrozen' | 'GrantRevoked')[] = ['GrantFrozen', 'GrantRevoked']
  for (const log of parseEventLogs({ abi: sessionKeyValidatorAbi, logs: own, eventName })) {
    const { account, grantId, by } = log.args
    if (by !== guardian) continue
    const proof = { txHash: log.transactionHash, blockNumber: log.blockNumber, logIndex: log.logIndex }
    found.set(keyOf({ account, grantId, kind: log.eventName === 'GrantFrozen' ? 'freeze' : 'revoke' }), proof)
  }
  return (stop) =>
    found.get(keyOf(stop)) ?? (stop.kind === 'freeze' ? found.get(keyOf({ ...stop, kind: 'revoke' })) : undefined)
}

function keyOf({ account, grantId, kind }: { account: Address; grantId: Hex; kind: string }): string {
  return `${kind} ${account.toLowerCase()} ${grantId.toLowerCase()}`
}
