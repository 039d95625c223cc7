import type { Hex } from '@protocolbanks/stream-protocol'
import { getAddress, hexToBigInt, numberToHex, pad } from 'viem'
import { z } from 'zod'
import { delegationMarker, type Eip7702Authorization } from './eip7702Authorization.ts'
import type { UserOperation } from './userOperation.ts'

const address = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, 'must be a 20-byte hex address')
  .transform((text) => getAddress(text))
// Longest quantity: 256 bits.
const quantity = z
  .string()
  .regex(/^0x[0-9a-fA-F]{1,64}$/, 'must be a hex quantity')
  .transform((text) => hexToBigInt(text as Hex))
// A UserOperation that a bundler takes is far smaller (alto: 100 kB of call data costs 1.6 million gas).
const maxBytes = 65_536
const bytes = z
  .string()
  .max(2 + 2 * maxBytes, `must have at most ${maxBytes} bytes`)
  .regex(/^0x([0-9a-fA-F]{2})*$/, 'must be hex bytes')
  .transform((text) => text.toLowerCase() as Hex)

const word = z
  .string()
  .regex(/^0x[0-9a-fA-F]{1,64}$/, 'must be at most 32 hex bytes')
  .transform((text) => pad(text as Hex, { size: 32 }))
const smallQuantity = quantity
  .refine((value) => value <= BigInt(Number.MAX_SAFE_INTEGER), 'must be below 2^53')
  .transform(Number)

const authorization = z.object({
  address,
  chainId: smallQuantity,
  nonce: smallQuantity,
  r: word,
  s: word,
  yParity: smallQuantity.refine((parity) => parity <= 1, 'must be 0 or 1'),
})

// Clients write "there is none" in three ways.
const optional = <schema extends z.ZodType>(schema: schema) => schema.nullish().transform((value) => value ?? undefined)

/** A UserOperation as JSON-RPC carries it (ERC-7769): numbers as hex. */
export const rpcUserOperationSchema = z.object({
  sender: address,
  nonce: quantity,
  factory: optional(z.union([z.literal(delegationMarker), address])),
  factoryData: optional(bytes),
  callData: bytes,
  callGasLimit: quantity,
  verificationGasLimit: quantity,
  preVerificationGas: quantity,
  maxFeePerGas: quantity,
  maxPriorityFeePerGas: quantity,
  paymaster: optional(address),
  paymasterVerificationGasLimit: optional(quantity),
  paymasterPostOpGasLimit: optional(quantity),
  paymasterData: optional(bytes),
  signature: bytes,
  eip7702Auth: optional(authorization),
})

/** The same while fields are still to be filled in: before estimation, before sponsorship, before the signature. */
export const partialRpcUserOperationSchema = rpcUserOperationSchema.extend({
  callGasLimit: optional(quantity),
  verificationGasLimit: optional(quantity),
  preVerificationGas: optional(quantity),
  maxFeePerGas: optional(quantity),
  maxPriorityFeePerGas: optional(quantity),
  signature: optional(bytes),
})
export type PartialUserOperation = z.output<typeof partialRpcUserOperationSchema>

export type RpcUserOperation = z.input<typeof rpcUserOperationSchema>

/** For storage and JSON-RPC. */
export function toRpcUserOperation({ eip7702Auth, ...op }: UserOperation): Record<string, string | RpcAuthorization> {
  return { ...toHexFields(op), ...(eip7702Auth && { eip7702Auth: toHexFields(eip7702Auth) }) }
}

type RpcAuthorization = Record<string, string>

function toHexFields(fields: Omit<UserOperation, 'eip7702Auth'> | Eip7702Authorization): Record<string, string> {
  const entries = Object.entries(fields).flatMap(([name, value]): [string, string][] => {
    if (value === undefined) return []
    return [[name, typeof value === 'string' ? value : numberToHex(value)]]
  })
  return Object.fromEntries(entries)
}

/** The inverse. @throws ZodError */
export function fromRpcUserOperation(json: unknown): UserOperation {
  return rpcUserOperationSchema.parse(json)
}
