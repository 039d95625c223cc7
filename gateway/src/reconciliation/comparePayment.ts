import type { Difference, Payment } from '@protocolbanks/stream-db'
import type { PaymentOnChain } from './readPayments.ts'

/** What became of a mirrored payment's transaction; undefined when the chain does not have it. */
export type PaymentTransaction = { blockHash: string; payments: readonly PaymentOnChain[] } | undefined

/** Where a mirrored payment is not what the module announced and the token moved; undefined when it is. */
export function comparePayment(payment: Payment, transaction: PaymentTransaction): Difference | undefined {
  const { grantId, payee, paid, txHash, logIndex, blockHash } = payment
  const at = `log ${logIndex} of transaction ${txHash}`
  const found = (actual: bigint, detail: string): Difference => ({
    kind: 'transfer',
    grantId,
    payee,
    expected: paid,
    actual,
    detail,
  })
  const isThere = transaction?.blockHash === blockHash
  const onChain = isThere
    ? transaction.payments.find((one) => one.logIndex === logIndex && one.grantId === grantId && one.payee === payee)
    : undefined
  if (!onChain) return found(0n, `The chain does not have this payment: ${at}.`)
  if (onChain.paid !== paid) return found(onChain.paid, `The module announced another amount: ${at}.`)
  if (onChain.transferred !== paid) return found(onChain.transferred, `The token did not move it to the payee: ${at}.`)
  return undefined
}
