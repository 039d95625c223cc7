import { addressSchema, BaseError, hex32Schema } from '@protocolbanks/stream-protocol'
import { type Hex, isHex } from 'viem'
import { z } from 'zod'
import type { ContractAddresses } from './planDeployment.ts'

const hexSchema = z
  .string()
  .refine((text) => isHex(text), 'must be hex')
  .transform((text) => text as Hex)

const deployedSchema = z.strictObject({
  address: addressSchema,
  /** keccak256 of the runtime code on the chain. */
  codeHash: hex32Schema,
  /** ABI-encoded; empty is `0x`. */
  constructorArguments: hexSchema,
  /** Null where the chain's history did not tell. */
  transaction: z.strictObject({ hash: hex32Schema, block: z.int().nonnegative() }).nullable(),
})

const rolesSchema = z.strictObject({ owner: addressSchema, signer: addressSchema })

/** deployments/<chain id>.json: what is where on one chain. */
export const deploymentSchema = z.strictObject({
  version: z.literal(1),
  chain: z.string().min(1),
  chainId: z.int().positive(),
  entryPoint: addressSchema,
  /** EntryPoint v0.7, where it has a paymaster of ours. */
  entryPoint07: addressSchema.optional(),
  /** The token: Circle's USDC, or the test token on a chain of our own. */
  usdc: addressSchema,
  /** Who the paymaster was deployed with. Its address depends on them for good. */
  initialRoles: rolesSchema,
  /** Who runs the paymaster now, as last recorded. */
  roles: rolesSchema,
  contracts: z.strictObject({
    sessionKeyValidator: deployedSchema,
    prepaidReserve: deployedSchema,
    sponsorPaymaster: deployedSchema,
    sponsorPaymaster07: deployedSchema.optional(),
    streamAccountFactory: deployedSchema,
    streamAccountImplementation: deployedSchema,
    streamAccount7702Implementation: deployedSchema,
  } satisfies Record<keyof ContractAddresses, z.ZodType>),
  /** What earlier code was deployed as. Grants and accounts stay with the contract they were made in. */
  superseded: z.array(deployedSchema.extend({ name: z.string(), commit: z.string().nullable() })),
  /** Of the sources that `contracts` was compiled from. */
  sources: z.strictObject({ commit: z.string().nullable() }),
  compiler: z.strictObject({ version: z.string(), settings: z.record(z.string(), z.json()) }),
})

export type Deployment = z.output<typeof deploymentSchema>
export type DeployedContract = z.output<typeof deployedSchema>

/** @param path where it was read, for the error. @throws DeploymentFileError */
export function parseDeployment(text: string, path: string): Deployment {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new DeploymentFileError(path, ['It is not JSON.'], cause)
  }
  const parsed = deploymentSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new DeploymentFileError(path, problems, parsed.error)
}

/** A deployments file is missing or is not what it should be. */
export class DeploymentFileError extends BaseError {
  override readonly code = 'deployment.file_invalid'
  constructor(path: string, problems: string[], cause?: unknown) {
    super('The deployments file cannot be used.', {
      metaMessages: [`File: ${path}`, ...problems, 'Write it with `npm run deploy`, or take it from the repository.'],
      cause,
      docsPath: '/errors#deployment-file-invalid',
    })
  }
}
