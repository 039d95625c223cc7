import type { Hex } from '@protocolbanks/stream-protocol'
import { getAddress, hexToBigInt, numberToHex } from 'viem'
import { z } from 'zod'
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

// Clients write "there is none" in three ways.
const optional = <schema extends z.ZodType>(schema: schema) => schema.nullish().transform((value) => value ?? undefined)

/** A UserOperation as JSON-RPC carries it (ERC-7769): numbers as hex. */
export const rpcUserOperationSchema = z.object({
  sender: address,
  nonce: quantity,
  factory: optional(address),
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
export function toRpcUserOperation(op: UserOperation): Record<string, string> {
  const entries = Object.entries(op).flatMap(([name, value]): [string, string][] => {
    if (value === undefined) return []
    return [[name, typeof value === 'bigint' ? numberToHex(value) : value]]
  })
  return Object.fromEntries(entries)
}

/** The inverse. @throws ZodError */
export function fromRpcUserOperation(json: unknown): UserOperation {
  return rpcUserOperationSchema.parse(json)
}
