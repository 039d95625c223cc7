/** Why the journal did not take a usage event. docs/operations.md says what each means. */
export const quarantineReasons = [
  'malformed',
  'future',
  'stale',
  'duplicate',
  'altered',
  'grant_unknown',
  'account_mismatch',
  'service_unknown',
  'merchant_mismatch',
  'payee_mismatch',
  'signature_invalid',
  'voucher_exceeded',
  'rejected',
] as const

export type QuarantineReason = (typeof quarantineReasons)[number]
