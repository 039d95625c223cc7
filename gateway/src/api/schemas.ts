import { addressSchema, BaseError, hex32Schema, parseAmount } from '@protocolbanks/stream-protocol'
import { z } from 'zod'

// What the routes of the management API have in common.

/** Text for people: 1 to 200 characters, none of them a control character. */
export const nameSchema = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((text) => !/\p{Cc}|\p{Cs}/u.test(text), 'must not contain control characters')

/** Why an operator does something, for the audit: 1 to 500 characters, lines allowed. */
export const noteSchema = z
  .string()
  .trim()
  .min(1)
  .max(500)
  .refine((text) => !/[^\P{Cc}\n]|\p{Cs}/u.test(text), 'must not contain control characters')

/** Where a list goes on. Opaque to callers: printable ASCII, whatever it decodes to. */
const cursorSchema = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,400}$/, 'must be `nextCursor` of the page before')
  .refine((text) => !/[^\x20-\x7e]/.test(decode(text)), 'must be `nextCursor` of the page before')

/** Every list: at most 100 at a time, 50 unless asked. */
export const pageSchema = z.strictObject({
  cursor: cursorSchema.optional(),
  limit: z.coerce.number().int().min(1).max(100).default(50),
})

/** Which grants of a session key: one, or all without it. */
export const grantIdSchema = hex32Schema

/** A non-zero address. */
export const nonZeroAddressSchema = addressSchema.refine((address) => !/^0x0+$/.test(address), 'must not be zero')

/**
 * Decimal string of a token with so many decimals, in base units.
 *
 * @example amountSchema(6, maxUint96).parse('0.01') // 10000n
 */
export function amountSchema(decimals: number, max: bigint) {
  return z.string().transform((text, context): bigint => {
    try {
      const amount = parseAmount(text, decimals)
      if (amount <= max) return amount
      context.addIssue({ code: 'custom', message: 'is too large' })
    } catch (error) {
      if (!(error instanceof BaseError)) throw error
      context.addIssue({ code: 'custom', message: error.metaMessages.at(-1) ?? error.shortMessage })
    }
    return z.NEVER
  })
}

/** The id of a path, or undefined when it cannot be one: such a thing does not exist. */
export function idOf(
  prefix: 'mer' | 'key' | 'svc' | 'stl' | 'rec' | 'whep' | 'whdl' | 'ach' | 'inc' | 'rul' | 'dry' | 'alw' | 'rhd',
  text: string,
): string | undefined {
  return new RegExp(`^${prefix}_[0-9a-f]{32}$`).test(text) ? text : undefined
}

function decode(cursor: string): string {
  // Ids are cursors as they are, others are base64url.
  return /^[a-z]{3,4}_/.test(cursor) ? cursor : Buffer.from(cursor, 'base64url').toString('latin1')
}
