import { addressSchema, type PaymentRequirements } from '@protocolbanks/stream-protocol'
import { z } from 'zod'

export const mppMethod = 'evm'
export const mppIntent = 'charge'

/** The one credential that is taken: an EIP-3009 authorisation. */
const credentialType = 'authorization'

const chargeRequestSchema = z.looseObject({
  amount: z.string().regex(/^(0|[1-9]\d{0,77})$/),
  currency: addressSchema,
  methodDetails: z.looseObject({ chainId: z.number().int().positive() }),
  recipient: addressSchema,
})

/** What a challenge asks to be paid (draft-evm-charge-01). Amounts in base units. */
export type ChargeRequest = z.output<typeof chargeRequestSchema>

/** `request` of a challenge: base64url of JSON in RFC 8785's form. */
export function encodeChargeRequest({ amount, asset, payTo }: PaymentRequirements, chainId: number): string {
  // Members in the order of their names, and no string that would be escaped: canonical as it is.
  const methodDetails = { chainId, credentialTypes: [credentialType] }
  return toBase64Url({ amount, currency: asset, methodDetails, recipient: payTo })
}

/** Undefined when it is none. */
export function decodeChargeRequest(request: string): ChargeRequest | undefined {
  return chargeRequestSchema.safeParse(fromBase64Url(request)).data
}

/** Without padding, as the scheme writes everything. */
export function toBase64Url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** Untrusted text to the JSON value behind it; undefined when there is none. */
export function fromBase64Url(text: string): unknown {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return undefined
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'base64url')))
  } catch {
    return undefined
  }
}
