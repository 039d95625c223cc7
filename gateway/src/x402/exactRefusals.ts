import type { ExactRefusal } from '../payment/refusals.ts'

/** What x402 calls our refusals: the reasons of its reference facilitator, equal in all of its languages. */
export const x402Reasons: Record<ExactRefusal, string> = {
  'payment.wrong_network': 'invalid_exact_evm_network_mismatch',
  'payment.wrong_token': 'invalid_payment_requirements',
  'payment.wrong_payee': 'invalid_exact_evm_recipient_mismatch',
  'price.changed': 'invalid_exact_evm_payload_authorization_value_mismatch',
  'exact.wrong_amount': 'invalid_exact_evm_payload_authorization_value_mismatch',
  'exact.expired': 'invalid_exact_evm_payload_authorization_valid_before',
  'exact.not_yet_valid': 'invalid_exact_evm_payload_authorization_valid_after',
  'exact.signature_invalid': 'invalid_exact_evm_signature',
  'exact.nonce_used': 'invalid_exact_evm_nonce_already_used',
  'exact.balance_too_low': 'invalid_exact_evm_insufficient_balance',
  'exact.transfer_refused': 'invalid_exact_evm_transaction_simulation_failed',
  'exact.factory_refused': 'eip6492_factory_not_allowed',
  'exact.settlement_failed': 'invalid_exact_evm_transaction_failed',
}
