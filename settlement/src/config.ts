import { maxSettlements } from '@protocolbanks/stream-bundler-client'
import { addressSchema } from '@protocolbanks/stream-protocol'
import { type ParsedConfig, parseConfig, privateKeySchema, processFields } from '@protocolbanks/stream-runtime'
import { z } from 'zod'

const milliseconds = (defaultMs: number, minMs: number) => z.coerce.number().int().min(minMs).default(defaultMs)

const commonSchema = z.object({
  ...processFields({ port: 4022, traceRatio: 1 }),
  DATABASE_URL: z.url(),
  RPC_URL: z.url(),
  CHAIN_ID: z.coerce.number().int().positive(),
  SESSION_MODULE: addressSchema,
  ENTRY_POINT: addressSchema,
  /** EntryPoint v0.7: without it accounts that need it are not settled by UserOperations. */
  ENTRY_POINT_07: addressSchema.optional(),
  TOKEN: addressSchema,
  /** How often Postgres is asked for work, and the chain for what was included. */
  POLL_MS: milliseconds(1_000, 50),
  /** Grants that end within this are settled whatever they owe. */
  EXPIRY_MARGIN_SECONDS: z.coerce.number().int().nonnegative().default(600),
  /** How long one look at the chain waits for what was sent. */
  INCLUSION_TIMEOUT_MS: milliseconds(60_000, 1_000),
  /** First wait after a failed attempt; each further one is four times as long. */
  RETRY_BASE_MS: milliseconds(5_000, 10),
  MAX_ATTEMPTS: z.coerce.number().int().min(1).max(10).default(3),
  /** Blocks that make an outcome final, the one that includes it among them. */
  CONFIRMATIONS: z.coerce.number().int().min(1).max(256).default(2),
  /** What waits longer than this is replaced with higher fees under the same nonce, and keeps no other grant out. */
  STUCK_MS: milliseconds(45_000, 500),
  /** Nothing is sent while the chain asks for more, and nothing is replaced by what costs more. */
  MAX_FEE_PER_GAS_WEI: z.coerce.bigint().positive().default(500_000_000_000n),
  /** Blocks that are searched for a UserOperation after a restart. */
  LOOKBACK_BLOCKS: z.coerce.bigint().positive().default(5_000n),
})

/** One sponsored UserOperation for each settlement. */
const userOperationSchema = commonSchema.extend({
  SETTLEMENT_ROUTE: z.literal('user-operation'),
  BUNDLER_URL: z.url(),
  PAYMASTER_URL: z.url(),
  PAYMASTER_API_KEY: z.string().min(1),
  /** Private key of the settler that grants name. It signs settlements: it cannot move money anywhere else. */
  SETTLER_KEY: privateKeySchema,
  /** Settlements that are worked on at once, each of another account. */
  MAX_IN_FLIGHT: z.coerce.number().int().min(1).max(500).default(32),
})

/** One transaction for the settlements of many accounts, whose gas a key of ours pays. */
const transactionSchema = commonSchema.extend({
  SETTLEMENT_ROUTE: z.literal('transaction'),
  /** Private key that pays the gas. Used by nothing else: its nonces are counted on. */
  TRANSACTION_KEY: privateKeySchema,
  /** Accounts of one transaction. */
  TRANSACTION_MAX_ACCOUNTS: z.coerce.number().int().min(1).max(maxSettlements).default(50),
  /** Below the 2^24 that a transaction may have by EIP-7825. */
  TRANSACTION_MAX_GAS: z.coerce.bigint().min(500_000n).max(16_777_216n).default(15_000_000n),
})

const configSchema = z.discriminatedUnion('SETTLEMENT_ROUTE', [userOperationSchema, transactionSchema])

export type UserOperationConfig = ParsedConfig<z.output<typeof userOperationSchema>>
export type TransactionConfig = ParsedConfig<z.output<typeof transactionSchema>>
export type Config = UserOperationConfig | TransactionConfig

/** What no log may show: addresses of services carry keys. */
const secretNames = [
  'DATABASE_URL',
  'RPC_URL',
  'BUNDLER_URL',
  'PAYMASTER_URL',
  'PAYMASTER_API_KEY',
  'SETTLER_KEY',
  'TRANSACTION_KEY',
] as const

/** @throws when the environment is not valid; the message names every problem at once and no value. */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  const route = env.SETTLEMENT_ROUTE ?? 'user-operation'
  return parseConfig(
    configSchema,
    { ...env, SETTLEMENT_ROUTE: route },
    { whose: 'The settlement worker', secrets: secretNames },
  )
}
