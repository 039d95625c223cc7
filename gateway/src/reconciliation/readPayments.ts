import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { erc20Abi, isAddressEqual, type Log, parseEventLogs } from 'viem'

/** A payment as the module announced it, and what the token moved for it. Base units. */
export type PaymentOnChain = {
  grantId: Hex
  payee: Address
  logIndex: number
  /** By the module's `Settled`. */
  paid: bigint
  /** By the token's `Transfer` from the account or the reserve to the payee, which comes before it; 0n without one. */
  transferred: bigint
}

type Mined = Log<bigint, number, false>

/**
 * The payments of one transaction: each `Settled` of the module with the `Transfer` of the token that it announces. A
 * transfer pays one of them, so that two payments never count one transfer.
 */
export function readPayments(
  logs: readonly Mined[],
  { module, reserve, token }: { module: Address; reserve: Address; token: Address },
): PaymentOnChain[] {
  const payments: PaymentOnChain[] = []
  let transfers: { from: Address; to: Address; value: bigint }[] = []
  for (const raw of logs.toSorted((a, b) => a.logIndex - b.logIndex)) {
    if (isAddressEqual(raw.address, token)) {
      const [log] = parseEventLogs({ abi: erc20Abi, eventName: 'Transfer', logs: [raw] })
      if (log) transfers.push(log.args)
    } else if (isAddressEqual(raw.address, module)) {
      const [log] = parseEventLogs({ abi: sessionKeyValidatorAbi, eventName: 'Settled', logs: [raw] })
      if (!log) continue
      const { account, grantId, payee, paid } = log.args
      const transfer = transfers.findLast(
        ({ from, to, value }) =>
          (isAddressEqual(from, account) || isAddressEqual(from, reserve)) &&
          isAddressEqual(to, payee) &&
          value === paid,
      )
      transfers = transfers.filter((other) => other !== transfer)
      payments.push({ grantId, payee, logIndex: raw.logIndex, paid, transferred: transfer?.value ?? 0n })
    }
  }
  return payments
}
