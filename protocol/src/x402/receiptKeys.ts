import { z } from 'zod'

const coordinateSchema = z.string().regex(/^[\w-]{43}$/, 'must be 32 bytes in base64url')

/** The public half of a key that signs receipts: a JSON Web Key (RFC 7517) of the curve P-256. */
export const receiptKeySchema = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: coordinateSchema,
  y: coordinateSchema,
  /** The key's thumbprint (RFC 7638), which signatures name it by. */
  kid: z.string().min(1).max(64),
  alg: z.literal('ES256'),
  use: z.literal('sig'),
})
export type ReceiptKey = z.output<typeof receiptKeySchema>

/** A JSON Web Key Set of such keys. */
export const receiptKeySetSchema = z.object({ keys: z.array(receiptKeySchema).max(32) })

/** Under the gateway's origin: where its keys are published. */
export const receiptKeysPath = '/.well-known/jwks.json'

/** Reads a key set as a server publishes it; keys that are not of receipts are left out. */
export function parseReceiptKeys(set: unknown): ReceiptKey[] {
  const parsed = z.looseObject({ keys: z.array(z.unknown()).max(100) }).safeParse(set)
  if (!parsed.success) return []
  return parsed.data.keys.flatMap((key) => {
    const known = receiptKeySchema.safeParse(key)
    return known.success ? [known.data] : []
  })
}
