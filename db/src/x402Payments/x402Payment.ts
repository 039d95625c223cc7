import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { x402PaymentTable, x402PaymentTransitionTable, x402TransactionTable } from './table.ts'

/** One payment by x402's `exact`: an EIP-3009 authorisation, and what became of it. Amounts in base units. */
export type X402Payment = typeof x402PaymentTable.$inferSelect
export type X402PaymentState = X402Payment['state']
export type X402PaymentTransition = typeof x402PaymentTransitionTable.$inferSelect
/** One transaction of the relayer, in all versions that were signed under its nonce. */
export type X402Transaction = typeof x402TransactionTable.$inferSelect

/** An authorisation that was verified, for one request. */
export type NewX402Payment = Pick<
  X402Payment,
  | 'origin'
  | 'merchantId'
  | 'serviceId'
  | 'token'
  | 'payer'
  | 'payee'
  | 'amount'
  | 'validAfter'
  | 'validBefore'
  | 'nonce'
  | 'signature'
  | 'paymentIdentifier'
  | 'fingerprint'
>

/** Which payment, and whose lease. Every change that takes it answers false when that is no longer so. */
export type HeldX402Payment = { id: string; owner: string }

/** How a settlement ended. */
export type X402Outcome =
  | { state: 'settled'; txHash: Hex; blockNumber: bigint }
  /** No transaction of ours can move the money any more. */
  | { state: 'failed'; reason: string }

/** Which authorisation: a token lets a payer use a nonce once. */
export type X402Nonce = { token: Address; payer: Address; nonce: Hex }
