import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * A challenge of the `Payment` scheme, its parameters as they are on the wire (draft-httpauth-payment-02, "Challenge").
 * `request` and `opaque` are base64url of canonical JSON, without padding.
 */
export type Challenge = {
  /** Binds all the others. */
  id: string
  realm: string
  method: string
  intent: string
  request: string
  /** RFC 3339. */
  expires?: string | undefined
  /** Of the request's body, RFC 9530. */
  digest?: string | undefined
  opaque?: string | undefined
  /** The field that the credential has to come in, where it is not `Authorization`. */
  header?: string | undefined
}

/** What goes into the id. */
export type ChallengeSlots = Omit<Challenge, 'id'>

/** Where a credential comes when `Authorization` is taken by something else. The only other field that there is. */
export const alternateHeader = 'Payment-Authorization'

/**
 * The id of a challenge: an HMAC over seven slots, empty where there is nothing, and an eighth for the field of the credential
 * where it is named (draft-httpauth-payment-02, "Recommended: HMAC-SHA256 Binding"). No slot may hold a `|`.
 */
export function challengeId(slots: ChallengeSlots, key: Uint8Array): string {
  const { realm, method, intent, request, expires = '', digest = '', opaque = '', header } = slots
  const values = [realm, method, intent, request, expires, digest, opaque]
  if (header !== undefined) values.push(header)
  return createHmac('sha256', key).update(values.join('|')).digest('base64url')
}

/** Whether one of the keys made the id for exactly these slots. */
export function isIssued({ id, ...slots }: Challenge, keys: readonly Uint8Array[]): boolean {
  const given = Buffer.from(id)
  return keys.some((key) => {
    const expected = Buffer.from(challengeId(slots, key))
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
}

/** Value of `WWW-Authenticate`. A description that is not plain ASCII is left out: quoted strings carry nothing else. */
export function writeChallenge(challenge: Challenge, description?: string): string {
  const { id, realm, method, intent, request, expires, digest, header, opaque } = challenge
  const isPlain = description !== undefined && /^[\x20-\x7e]+$/.test(description)
  const parameters = Object.entries({
    ...{ id, realm, method, intent, request, description: isPlain ? description : undefined },
    ...{ digest, expires, header, opaque },
  })
  const written = parameters.flatMap(([name, value]) => (value === undefined ? [] : [`${name}="${quote(value)}"`]))
  return `Payment ${written.join(', ')}`
}

/** RFC 9110, section 5.6.4. */
function quote(value: string): string {
  return value.replaceAll(/["\\]/g, '\\$&')
}
