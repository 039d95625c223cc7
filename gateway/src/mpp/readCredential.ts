import { type ExactPayload, exactPayloadSchema, maxHeaderLength } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import type { Challenge } from './challenge.ts'
import { fromBase64Url } from './chargeRequest.ts'

/** A credential for `evm/charge`, not yet verified. */
export type Credential = ExactPayload & {
  challenge: Challenge
  /** Who pays, as `did:pkh:eip155:137:0x...`; undefined when the client does not say. */
  source: string | undefined
}

export type ReadCredential =
  | { ok: true; credential: Credential }
  /** It is no credential: its form, or that of the payment in it. */
  | { ok: false; what: 'credential' | 'payload'; detail: string }

/** What is bound by the id must not hold what separates the slots. */
const slot = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^|]*$/)
const base64url = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, 'must be base64url without padding')

/** Parameters that we do not know are bound by nothing and count for nothing. */
const challengeSchema = z.object({
  id: base64url(64),
  realm: slot(255),
  method: slot(64),
  intent: slot(64),
  request: base64url(4_096),
  expires: slot(40).optional(),
  digest: slot(200).optional(),
  opaque: base64url(1_024).optional(),
  header: slot(64).optional(),
}) satisfies z.ZodType<Challenge>

const credentialSchema = z.object({
  challenge: challengeSchema,
  source: z.string().max(200).optional(),
  payload: z.looseObject({ type: z.string().max(64) }),
})

/** What is in front of the credential. */
const scheme = /^Payment +/i

/** Whether a field carries a credential of the `Payment` scheme, well formed or not. */
export function isCredential(field: string | undefined): field is string {
  return field !== undefined && /^Payment( |$)/i.test(field)
}

/** Untrusted `Authorization: Payment ...` to a credential. */
export function readCredential(field: string): ReadCredential {
  if (field.length > maxHeaderLength) return malformed(`The credential is longer than ${maxHeaderLength} characters.`)
  const value = fromBase64Url(field.replace(scheme, ''))
  if (value === undefined) return malformed('The credential is not base64url, without padding, of JSON.')
  const read = credentialSchema.safeParse(value)
  if (!read.success) return malformed(`The credential is not valid: ${issueOf(read.error)}.`)
  const { challenge, source, payload } = read.data
  const { type, signature, from, to, value: amount, validAfter, validBefore, nonce } = payload
  if (type !== 'authorization') {
    return { ok: false, what: 'payload', detail: `payload.type is '${type}'; 'authorization' is what is taken here.` }
  }
  const authorization = { from, to, value: amount, validAfter, validBefore, nonce }
  const exact = exactPayloadSchema.safeParse({ authorization, signature })
  if (!exact.success)
    return { ok: false, what: 'payload', detail: `The payload is not valid: ${issueOf(exact.error)}.` }
  return { ok: true, credential: { challenge, source, ...exact.data } }
}

function malformed(detail: string): ReadCredential {
  return { ok: false, what: 'credential', detail }
}

function issueOf({ issues: [issue] }: z.ZodError): string {
  return `${issue?.path.join('.') || 'value'}: ${issue?.message ?? 'is not valid'}`
}
