import { addressSchema } from '@protocolbanks/stream-protocol'
import { type ParsedConfig, parseConfig, privateKeySchema, processFields } from '@protocolbanks/stream-runtime'
import { z } from 'zod'

const wei = (defaultWei: bigint) => z.coerce.bigint().nonnegative().default(defaultWei)

const configSchema = z
  .object({
    ...processFields({ port: 4021, traceRatio: 0.01 }),
    DATABASE_URL: z.url(),
    RPC_URL: z.url(),
    CHAIN_ID: z.coerce.number().int().positive(),
    SESSION_MODULE: addressSchema,
    ENTRY_POINT: addressSchema,
    TOKEN: addressSchema,
    /** SponsorPaymaster. */
    SPONSOR_PAYMASTER: addressSchema,
    /** EntryPoint v0.7 and a SponsorPaymaster on it, for accounts that need it. Both or neither. */
    ENTRY_POINT_07: addressSchema.optional(),
    SPONSOR_PAYMASTER_07: addressSchema.optional(),
    /** StreamAccountFactory. */
    ACCOUNT_FACTORY: addressSchema,
    /** StreamAccount7702: what EOAs may delegate to. Without it no delegation is sponsored. */
    ACCOUNT_DELEGATE: addressSchema.optional(),
    /** SafeProxyFactory, from which Safes are sponsored. Without it no Safe is deployed. */
    SAFE_PROXY_FACTORY: addressSchema.optional(),
    /** Private key of the paymaster contract's signer. It can spend the deposit on gas, nothing else. */
    PAYMASTER_SIGNER_KEY: privateKeySchema,
    /** Settles for all merchants and names the merchant that pays for an owner's operation. */
    OPERATOR_API_KEY: z.string().min(24),
    /** For `pm_sponsorUserOperation` without gas limits; without it they have to be given. */
    BUNDLER_URL: z.url().optional(),
    /** 500 gwei. */
    MAX_FEE_PER_GAS_WEI: wei(500_000_000_000n),
    /** Covers the L1 data fee of rollups too. */
    MAX_PRE_VERIFICATION_GAS: z.coerce.bigint().positive().default(2_000_000n),
    /** How long a signature can be used. */
    SPONSORSHIP_TTL_SECONDS: z.coerce.number().int().min(30).max(3_600).default(300),
    /** For operations that no merchant pays for, all together: 0.1 of the chain's coin. */
    OPERATOR_GAS_BUDGET_WEI_PER_DAY: wei(10n ** 17n),
    /** Of operations that no merchant pays for. */
    MAX_OPERATIONS_PER_ACCOUNT_PER_DAY: z.coerce.number().int().positive().default(50),
    /** How often the chain is asked what sponsored operations cost. */
    POLL_MS: z.coerce.number().int().min(50).default(2_000),
  })
  .refine((config) => (config.ENTRY_POINT_07 === undefined) === (config.SPONSOR_PAYMASTER_07 === undefined), {
    path: ['SPONSOR_PAYMASTER_07'],
    message: 'goes together with ENTRY_POINT_07: set both or neither',
  })

export type Config = ParsedConfig<z.output<typeof configSchema>>

/** What no log may show: addresses of services carry keys. */
const secretNames = ['DATABASE_URL', 'RPC_URL', 'BUNDLER_URL', 'PAYMASTER_SIGNER_KEY', 'OPERATOR_API_KEY'] as const

/** @throws when the environment is not valid; the message names every problem at once and no value. */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  return parseConfig(configSchema, env, { whose: 'The paymaster', secrets: secretNames })
}
