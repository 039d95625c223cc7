import type { PaymentRequirements } from '@protocolbanks/stream-protocol'
import { keccak256, toBytes } from 'viem'
import type { PaymentRefusal } from '../payment/refusals.ts'
import { type Challenge, isIssued } from './challenge.ts'
import { decodeChargeRequest, fromBase64Url, mppIntent, mppMethod } from './chargeRequest.ts'
import type { Credential } from './readCredential.ts'

/** What a challenge has to be about, to be paid with here and now. */
export type ChallengeTerms = {
  /** Of the deployment: any of them may have made the id. */
  keys: readonly Uint8Array[]
  realm: string
  chainId: number
  /** Id of the service. */
  service: string
  required: PaymentRequirements
  /** Field that the credential came in; undefined: `Authorization`. */
  header: string | undefined
  /** Of the request's body; undefined when there is none, or none that is buffered. */
  digest(): string | undefined
}

export type WrongChallenge = { code: PaymentRefusal | 'method.unsupported'; detail?: string }

/**
 * What is wrong with the challenge of a credential and with how it was answered; undefined when it is ours, for this request,
 * and paid by what it asks for. Says nothing of its end, and nothing of the signature: see isExpired and verifyAuthorization.
 */
export function checkChallenge(
  { challenge, source, authorization }: Credential,
  terms: ChallengeTerms,
): WrongChallenge | undefined {
  const { method, intent } = challenge
  if (method !== mppMethod || intent !== mppIntent) {
    return {
      code: 'method.unsupported',
      detail: `Paid by ${method}/${intent}; ${mppMethod}/${mppIntent} is taken here.`,
    }
  }
  if (!isIssued(challenge, terms.keys)) return invalid('Its id is not of these parameters, or was not made here.')
  if (challenge.realm !== terms.realm) return invalid(`It is of realm ${challenge.realm}; this is ${terms.realm}.`)
  if (challenge.header !== terms.header) {
    const field = challenge.header ?? 'Authorization'
    return invalid(`Its credential has to come in ${field}, and came in ${terms.header ?? 'Authorization'}.`)
  }
  if (serviceOf(challenge) !== terms.service) return invalid('It is of another service.')
  if (challenge.digest !== undefined && challenge.digest !== terms.digest()) return invalid('It is for another body.')
  const code = compareTerms(challenge, terms) ?? compareAnswer(challenge, { source, authorization }, terms)
  return code && { code }
}

/** Whether a challenge has ended. One without an end, or one that is no time, has. */
export function isExpired({ expires }: Challenge, nowMs: number): boolean {
  const endsAt = expires === undefined ? Number.NaN : Date.parse(expires)
  return !(endsAt > nowMs)
}

/** Service that a challenge was made for, out of what it brings back to us. */
export function serviceOf({ opaque }: Challenge): string | undefined {
  const value = opaque === undefined ? undefined : fromBase64Url(opaque)
  if (typeof value !== 'object' || value === null) return undefined
  const { service } = value as Record<string, unknown>
  return typeof service === 'string' ? service : undefined
}

/** EIP-3009 nonce of who pays for a challenge (draft-evm-charge-01, "Challenge Binding"). */
export function nonceOf({ id, realm }: Pick<Challenge, 'id' | 'realm'>): `0x${string}` {
  return keccak256(toBytes(id + realm))
}

/** Ours, but prices and payees change. */
function compareTerms(challenge: Challenge, { required, chainId }: ChallengeTerms): PaymentRefusal | undefined {
  const asked = decodeChargeRequest(challenge.request)
  if (!asked) return 'challenge.invalid'
  if (asked.methodDetails.chainId !== chainId) return 'payment.wrong_network'
  if (asked.currency !== required.asset) return 'payment.wrong_token'
  if (asked.recipient !== required.payTo) return 'payment.wrong_payee'
  if (asked.amount !== required.amount) return 'price.changed'
  return undefined
}

function compareAnswer(
  challenge: Challenge,
  { source, authorization }: Pick<Credential, 'source' | 'authorization'>,
  { chainId }: ChallengeTerms,
): PaymentRefusal | undefined {
  if (authorization.nonce !== nonceOf(challenge)) return 'challenge.not_signed'
  if (source === undefined) return undefined
  const [, sourceChain, address] = /^did:pkh:eip155:(\d+):(0x[0-9a-fA-F]{40})$/.exec(source) ?? []
  if (address?.toLowerCase() !== authorization.from.toLowerCase()) return 'payment.wrong_payer'
  return sourceChain === `${chainId}` ? undefined : 'payment.wrong_network'
}

function invalid(detail: string): WrongChallenge {
  return { code: 'challenge.invalid', detail }
}
