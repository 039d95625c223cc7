/** Types of problems that MPP knows (draft-httpauth-payment-02, "Error Codes"). */
export type ProblemType =
  | 'payment-required'
  | 'payment-insufficient'
  | 'payment-expired'
  | 'verification-failed'
  | 'method-unsupported'
  | 'malformed-credential'
  | 'invalid-payload'
  | 'invalid-challenge'
  | 'bad-request'

const types: Record<string, ProblemType> = {
  'payment.required': 'payment-required',
  'payment.ambiguous': 'bad-request',
  'method.unsupported': 'method-unsupported',
  'credential.malformed': 'malformed-credential',
  'challenge.invalid': 'invalid-challenge',
  'challenge.expired': 'payment-expired',
  'challenge.not_signed': 'verification-failed',
  'price.changed': 'invalid-challenge',
  'exact.nonce_used': 'invalid-challenge',
  'exact.expired': 'payment-expired',
  'exact.balance_too_low': 'payment-insufficient',
}

/** `type` of a refusal for a client that speaks MPP. Only what is answered with a 4xx for the payment's sake has one. */
export function problemTypeOf(code: string, status: number): string | undefined {
  const type = types[code] ?? (status === 402 ? 'verification-failed' : undefined)
  return type && toUri(type)
}

export function toUri(type: ProblemType): string {
  return `https://paymentauth.org/problems/${type}`
}
