import { z } from 'zod'
import { addressSchema, hex32Schema } from './schemas.ts'

/** x402's scheme of one signed transfer for one call, in `accepts[].scheme`. */
export const exactScheme = 'exact'

/** `accepts[].extra` of the scheme: the token's EIP-712 domain, which the chain and the token's address complete. */
export const exactExtraSchema = z.looseObject({ name: z.string().max(128), version: z.string().max(32) })
export type ExactExtra = z.output<typeof exactExtraSchema>

const maxUint256 = 2n ** 256n - 1n

/** uint256 as a decimal string. */
const uint256Schema = z
  .string()
  .regex(/^(0|[1-9]\d{0,77})$/, 'must be a whole number as a decimal string')
  .transform(BigInt)
  .refine((value) => value <= maxUint256, 'must be below 2^256')

/** `authorization` of the payload: EIP-3009's TransferWithAuthorization. Times in unix seconds, both exclusive. */
export const exactAuthorizationSchema = z.strictObject({
  from: addressSchema,
  to: addressSchema,
  value: uint256Schema,
  validAfter: uint256Schema,
  validBefore: uint256Schema,
  nonce: hex32Schema,
})
export type ExactAuthorization = z.output<typeof exactAuthorizationSchema>

/** `payload` of the scheme. The signature is an EOA's 65 bytes, or what an account takes by ERC-1271 or ERC-6492. */
export const exactPayloadSchema = z.strictObject({
  authorization: exactAuthorizationSchema,
  signature: z
    .string()
    .regex(/^0x([0-9a-fA-F]{2}){1,2800}$/, 'must be 1 to 2,800 bytes of hex')
    .transform((text) => text.toLowerCase() as `0x${string}`),
})
export type ExactPayload = z.output<typeof exactPayloadSchema>
