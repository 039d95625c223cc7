import type { RefusalCode } from '../meter/meter.ts'

/** Why a paid call is refused although the request itself is well formed. */
export type PaymentRefusal =
  | RefusalCode
  | 'payment.required'
  | 'scheme.unsupported'
  | 'payment.wrong_network'
  | 'payment.wrong_token'
  | 'payment.wrong_payee'
  | 'payment.wrong_module'
  | 'price.changed'
  | 'payee.not_granted'
  | 'voucher.invalid_signature'
  | ExactRefusal
  | MppRefusal

/** Why a payment by x402's `exact` is refused. */
export type ExactRefusal =
  | 'payment.wrong_network'
  | 'payment.wrong_token'
  | 'payment.wrong_payee'
  | 'price.changed'
  | 'exact.wrong_amount'
  | 'exact.expired'
  | 'exact.not_yet_valid'
  | 'exact.signature_invalid'
  | 'exact.nonce_used'
  | 'exact.balance_too_low'
  | 'exact.transfer_refused'
  | 'exact.factory_refused'
  | 'exact.settlement_failed'

/** Why a payment by MPP is refused before it is looked at as one by `exact`. */
export type MppRefusal =
  | 'credential.malformed'
  | 'challenge.invalid'
  | 'challenge.expired'
  | 'challenge.not_signed'
  | 'payment.wrong_payer'

type Text = { status: 402 | 409 | 429; title: string; hint: string; retryAfterSeconds?: number }

/** One clear answer per refusal. Kept in step with docs/errors.md. */
export const refusals: Record<PaymentRefusal, Text> = {
  'payment.required': {
    status: 402,
    title: 'This call is paid.',
    hint: 'Sign a voucher for one of `accepts` and send it as PAYMENT-SIGNATURE.',
  },
  'scheme.unsupported': {
    status: 402,
    title: 'The payment scheme is not accepted here.',
    hint: 'Use one of the schemes in `accepts`.',
  },
  'payment.wrong_network': {
    status: 402,
    title: 'The payment is for another chain.',
    hint: 'Use the network in `accepts`.',
  },
  'payment.wrong_token': {
    status: 402,
    title: 'The payment is in another token.',
    hint: 'Use the asset in `accepts`.',
  },
  'payment.wrong_payee': {
    status: 402,
    title: 'The payment is for another payee.',
    hint: 'Sign the voucher for `payTo` in `accepts`.',
  },
  'payment.wrong_module': {
    status: 402,
    title: 'The payment is under another module.',
    hint: 'Use a grant of the module in `accepts[].extra`.',
  },
  'price.changed': {
    status: 402,
    title: 'The price is not the one you accepted.',
    hint: 'Read the price in `accepts` and sign again if you agree.',
  },
  'payee.not_granted': {
    status: 402,
    title: 'The grant does not allow this payee.',
    hint: 'Send `payeeProof`, or ask the owner for a grant with this payee.',
  },
  'voucher.invalid_signature': {
    status: 402,
    title: 'The session key of the grant did not sign this voucher.',
    hint: 'Check the domain, the grant id, the payee and the amount that you sign.',
  },
  'grant.unknown': {
    status: 402,
    title: 'No such grant is known on this chain.',
    hint: 'Ask the owner to grant it, or wait until its transaction is included.',
  },
  'grant.revoked': { status: 402, title: 'The grant was revoked.', hint: 'Ask the owner for a new grant.' },
  'grant.frozen': { status: 402, title: 'The grant is frozen.', hint: 'Only the owner can unfreeze it.' },
  'grant.not_yet_valid': { status: 402, title: 'The grant is not valid yet.', hint: 'Wait until its validAfter.' },
  'grant.expired': {
    status: 402,
    title: 'The grant has ended, or ends too soon to be settled.',
    hint: 'Ask the owner for a new grant.',
  },
  'request.conflict': {
    status: 409,
    title: 'This request id was used for another request.',
    hint: 'Use a new id for a new request.',
  },
  'credit.refused': {
    status: 402,
    title: 'This merchant serves nothing on credit, and the grant is paid from an allowance.',
    hint: 'Use a grant that is paid from a reserve: `sources` in `accepts[].extra`.',
  },
  'limit.per_call': {
    status: 402,
    title: 'The price is above what one call may cost.',
    hint: 'Ask who set the limit to raise it: `detail` says whose it is.',
  },
  'limit.rate': {
    status: 429,
    title: 'Too many calls of this grant for now.',
    hint: 'Go on when the window has ended: `Retry-After` says when.',
  },
  'limit.spend': {
    status: 429,
    title: 'The grant has spent what it may for now.',
    hint: 'Go on when the window has ended: `Retry-After` says when. The owner or the merchant can raise the limit.',
  },
  'voucher.exhausted': {
    status: 402,
    title: 'The voucher does not cover this call.',
    hint: 'Sign a voucher for at least `charged` of the session extension plus the price.',
  },
  'limit.total': { status: 402, title: "The grant's total limit is used up.", hint: 'Ask the owner for a new grant.' },
  'limit.period': {
    status: 402,
    title: "The grant's limit for this period is used up.",
    hint: 'Go on in the next period.',
  },
  'funds.insufficient': {
    status: 402,
    title: 'What the grant is paid from does not cover this call: balance and allowance, or the reserve.',
    hint: 'Ask the owner to top up the account and its allowance, or its reserve: `source` of the grant says which.',
  },
  'limit.exposure': {
    status: 429,
    retryAfterSeconds: 5,
    title: 'What is owed on credit and not settled yet has reached a limit.',
    hint: 'Go on when it is settled, which happens by itself; a grant that is paid from a reserve has no such limit.',
  },
  'exact.wrong_amount': {
    status: 402,
    title: 'The authorisation is not for the price.',
    hint: 'Sign an authorisation whose `value` is `amount` in `accepts`.',
  },
  'exact.expired': {
    status: 402,
    title: 'The authorisation has ended, or ends too soon to be settled.',
    hint: 'Sign one with a `validBefore` of `maxTimeoutSeconds` from now.',
  },
  'exact.not_yet_valid': {
    status: 402,
    title: 'The authorisation is not valid yet.',
    hint: 'Sign one with a `validAfter` in the past; check the clock.',
  },
  'exact.signature_invalid': {
    status: 402,
    title: 'The payer did not sign this authorisation.',
    hint: "Check the token's EIP-712 domain in `accepts[].extra`, and that `from` is who signs.",
  },
  'exact.nonce_used': {
    status: 402,
    title: 'The authorisation was used or cancelled.',
    hint: 'Sign a new one with another nonce.',
  },
  'exact.balance_too_low': {
    status: 402,
    title: 'The payer does not hold the price.',
    hint: 'Top up the account that signs, or pay from another.',
  },
  'exact.transfer_refused': {
    status: 402,
    title: 'The token would not make this transfer.',
    hint: 'The payer or the payee may be blocked by the token: pay from another account.',
  },
  'exact.factory_refused': {
    status: 402,
    title: 'The account is not deployed, and its factory is none that is used here.',
    hint: 'Deploy the account first, or pay from another.',
  },
  'exact.settlement_failed': {
    status: 402,
    title: 'The transfer failed on the chain; nothing was paid, and the answer is not given.',
    hint: 'See why in `detail`, and pay again with a new authorisation.',
  },
  'credential.malformed': {
    status: 402,
    title: 'The credential cannot be read.',
    hint: 'Answer the challenge in WWW-Authenticate with a credential of type authorization.',
  },
  'challenge.invalid': {
    status: 402,
    title: 'The challenge was not made here, was changed, or is for another request.',
    hint: 'Answer the challenge in WWW-Authenticate of this answer, and send its parameters back as they are.',
  },
  'challenge.expired': {
    status: 402,
    title: 'The challenge has ended.',
    hint: 'Answer the challenge in WWW-Authenticate of this answer before its `expires`.',
  },
  'challenge.not_signed': {
    status: 402,
    title: 'The authorisation is not for this challenge.',
    hint: 'Sign keccak256 of the id and the realm of the challenge, one after the other, as the nonce.',
  },
  'payment.wrong_payer': {
    status: 402,
    title: 'The credential names another payer than its authorisation.',
    hint: 'Name `from` of the authorisation in `source`, or leave `source` out.',
  },
}
