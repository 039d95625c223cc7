import { addressSchema, type Hex } from '@protocolbanks/stream-protocol'
import { privateKeyToAccount } from 'viem/accounts'
import { z } from 'zod'

const milliseconds = (defaultMs: number, minMs: number) => z.coerce.number().int().min(minMs).default(defaultMs)

const configSchema = z.object({
  DATABASE_URL: z.url(),
  RPC_URL: z.url(),
  CHAIN_ID: z.coerce.number().int().positive(),
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(0).max(65_535).default(4022),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
  SESSION_MODULE: addressSchema,
  ENTRY_POINT: addressSchema,
  TOKEN: addressSchema,
  BUNDLER_URL: z.url(),
  PAYMASTER_URL: z.url(),
  PAYMASTER_API_KEY: z.string().min(1),
  /** Private key of the settler that grants name. It signs settlements: it cannot move money anywhere else. */
  SETTLER_KEY: z
    .string()
    .refine(isPrivateKey, 'must be a private key: 32 bytes of hex')
    .transform((key) => key as Hex),
  /** How often Postgres is asked for work, and the chain for what was included. */
  POLL_MS: milliseconds(1_000, 50),
  /** Settlements that are worked on at once, each of another account. */
  MAX_IN_FLIGHT: z.coerce.number().int().min(1).max(500).default(32),
  /** Grants that end within this are settled whatever they owe. */
  EXPIRY_MARGIN_SECONDS: z.coerce.number().int().nonnegative().default(600),
  /** How long one look at the chain waits for a sent UserOperation. */
  INCLUSION_TIMEOUT_MS: milliseconds(60_000, 1_000),
  /** First wait after a failed attempt; each further one is four times as long. */
  RETRY_BASE_MS: milliseconds(5_000, 10),
  MAX_ATTEMPTS: z.coerce.number().int().min(1).max(10).default(3),
  /** Blocks that are searched for a UserOperation after a restart. */
  LOOKBACK_BLOCKS: z.coerce.bigint().positive().default(5_000n),
})

export type Config = Readonly<z.output<typeof configSchema>>

/** @throws when the environment is not valid; the message names every problem at once and no value. */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  const parsed = configSchema.safeParse(env)
  if (parsed.success) return Object.freeze(Object.defineProperty(parsed.data, 'toJSON', { value: redacted }))
  const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`)
  throw new Error(`The settlement worker's environment is not valid:\n${problems.join('\n')}`)
}

const secrets: ReadonlySet<string> = new Set([
  'DATABASE_URL',
  'RPC_URL',
  'BUNDLER_URL',
  'PAYMASTER_URL',
  'PAYMASTER_API_KEY',
  'SETTLER_KEY',
] satisfies (keyof Config)[])

/** What a log may show: addresses of services carry keys. */
function redacted(this: Config): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(this).map(([name, value]) => [
      name,
      secrets.has(name) ? '[redacted]' : typeof value === 'bigint' ? value.toString() : value,
    ]),
  )
}

function isPrivateKey(text: string): boolean {
  try {
    return /^0x[0-9a-fA-F]{64}$/.test(text) && privateKeyToAccount(text as Hex).address.length === 42
  } catch {
    return false
  }
}
