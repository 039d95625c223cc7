import { addressSchema, receiptKeySetSchema } from '@protocolbanks/stream-protocol'
import { type ParsedConfig, parseConfig, privateKeySchema, processFields } from '@protocolbanks/stream-runtime'
import { z } from 'zod'
import { receiptPrivateKeySchema } from './payment/createReceiptSigner.ts'
import { parseAllowedHost } from './proxy/parseAllowedHost.ts'

const configSchema = z.object({
  ...processFields({ port: 4020, traceRatio: 0.01 }),
  DATABASE_URL: z.url(),
  /**
   * Several with commas between them are nodes of a Redis Cluster. Without it the meter is embedded, and this must be the
   * only gateway process.
   */
  REDIS_URL: z
    .string()
    .refine((text) => text.split(',').every((url) => z.url({ protocol: /^rediss?$/ }).safeParse(url.trim()).success), {
      message: 'must be a URL redis://... or rediss://..., or several with commas between them',
    })
    .optional(),
  RPC_URL: z.url(),
  CHAIN_ID: z.coerce.number().int().positive(),
  /** Origin under which clients reach the gateway. */
  PUBLIC_URL: z.url().optional(),
  SESSION_MODULE: addressSchema,
  ENTRY_POINT: addressSchema,
  TOKEN: addressSchema,
  SETTLER_ADDRESS: addressSchema,
  /** First key: creates merchants and their keys. */
  OPERATOR_API_KEY: z.string().min(24),
  /** Block from which the module's events are read; the module's deployment. */
  START_BLOCK: z.coerce.bigint().default(0n),
  MAX_CHAIN_STALENESS_SECONDS: z.coerce.number().positive().default(30),
  INDEXER_POLL_MS: z.coerce.number().int().positive().default(1000),
  /** A sentinel that is not heard for so long is missed on /ready; 0: there is none. */
  SENTINEL_SILENT_SECONDS: z.coerce.number().int().nonnegative().default(60),
  /** A grant is no longer served this long before it ends, so that what it owes can be settled. */
  SETTLEMENT_MARGIN_SECONDS: z.coerce.number().int().nonnegative().default(600),
  /** Between two scheduled reconciliations, over all gateways. */
  RECONCILE_INTERVAL_SECONDS: z.coerce.number().int().positive().default(3_600),
  /** How long the meter may be ahead of the journal before it is a difference: longer than any request is open. */
  RECONCILE_PATIENCE_SECONDS: z.coerce.number().int().positive().default(60),
  /**
   * Keys that seal the secrets of webhook endpoints: 32 bytes each in base64, comma between them. The first seals, all
   * open. Without any, no webhooks are sent and no endpoint can be made.
   */
  WEBHOOK_ENCRYPTION_KEYS: z
    .string()
    .transform((text) => text.split(',').map((key) => Buffer.from(key, 'base64')))
    .refine((keys) => keys.every(({ length }) => length === 32), 'must be keys of 32 bytes in base64, by commas')
    .optional(),
  /** For local development only: webhooks may go to private networks, and over http. */
  WEBHOOK_ALLOW_PRIVATE_NETWORKS: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  /** YAML with the merchants and services of an operator who wants no API for them; docs/merchants.md. */
  SERVICES_FILE: z.string().min(1).optional(),
  /** Hosts in private networks at which services of merchants may have their APIs, comma between them; `host` or `host:port`. */
  UPSTREAM_ALLOWED_HOSTS: z
    .string()
    .transform((text) => text.split(',').map((host) => host.trim()))
    .transform((hosts, context) =>
      hosts.flatMap((host) => {
        const allowed = parseAllowedHost(host)
        if (allowed !== undefined) return [allowed]
        context.addIssue({ code: 'custom', message: 'must be hosts as api.internal or 10.0.3.7:8080, by commas' })
        return []
      }),
    )
    .default([]),
  /** For local development only: upstreams of merchants may be in private networks. */
  UPSTREAM_ALLOW_PRIVATE_NETWORKS: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  /** What a receiver of a webhook has for its answer. */
  WEBHOOK_TIMEOUT_MS: z.coerce.number().int().min(100).max(60_000).default(10_000),
  /** How long events, their deliveries and published messages of the outbox are kept. */
  WEBHOOK_RETENTION_DAYS: z.coerce.number().positive().max(3_650).default(30),
  /** Origins of the pages that owners sign in at, comma between them; PUBLIC_URL's by default. */
  OWNER_ORIGINS: z
    .string()
    .transform((text) => text.split(',').map((origin) => origin.trim()))
    .refine((origins) => origins.every(isOrigin), 'must be origins as https://console.example.com, by commas')
    .optional(),
  /** How long an owner's session lasts. */
  OWNER_SESSION_SECONDS: z.coerce.number().int().min(60).max(86_400).default(3_600),
  /** Nonces and sign-ins of one client in a minute, and sign-ins of one account, in each gateway. */
  OWNER_SIGN_INS_PER_MINUTE: z.coerce.number().int().positive().default(30),
  /** Requests of one API key or owner's session to the management API, in each gateway; the operator's have ten times that. */
  API_REQUESTS_PER_MINUTE: z.coerce.number().int().positive().default(1_200),
  /** Proxies in front that append to X-Forwarded-For. 0: a client is who connects. */
  TRUSTED_PROXY_HOPS: z.coerce.number().int().min(0).max(10).default(0),
  /** Names clients in usage events: keyed hashes of their addresses, for the sentinel. Without it nobody is named. */
  CLIENT_HASH_KEY: z.string().min(24).optional(),
  /** What one grant, and one account, may owe all merchants together on credit; base units. Without them: no bound. */
  CREDIT_PER_GRANT_ATOMIC: z.coerce.bigint().nonnegative().optional(),
  CREDIT_PER_ACCOUNT_ATOMIC: z.coerce.bigint().nonnegative().optional(),
  /**
   * Pays the gas of payments by x402's `exact`: 32 bytes of hex. All gateways share it, and nobody else may send with it.
   * Without it, or empty, `exact` is not offered.
   */
  RELAYER_KEY: z.union([z.literal('').transform(() => undefined), privateKeySchema]).optional(),
  /**
   * Signs receipts: 32 bytes of hex, a private key of P-256 that all gateways share and nobody else has. Without it, or
   * empty, receipts are not signed.
   */
  RECEIPT_KEY: z.union([z.literal('').transform(() => undefined), receiptPrivateKeySchema]).optional(),
  /** Published beside it, a JSON Web Key Set: keys that signed before, and those that will. */
  RECEIPT_PUBLIC_KEYS: z
    .string()
    .default('')
    .transform((text, context) => {
      const parsed = receiptKeySetSchema.safeParse(parseJson(text === '' ? '{"keys":[]}' : text))
      if (parsed.success) return parsed.data.keys
      context.addIssue({ code: 'custom', message: 'must be a JSON Web Key Set as /.well-known/jwks.json answers it' })
      return z.NEVER
    }),
  /**
   * Challenges of MPP are made with the first, and known again by all; 32 characters at least each, comma between them. All
   * gateways share them. One that follows from RELAYER_KEY by default.
   */
  MPP_SECRETS: z
    .string()
    .transform((text) => text.split(',').map((secret) => secret.trim()))
    .refine((secrets) => secrets.every(({ length }) => length >= 32), 'must be secrets of 32 characters, by commas')
    .transform(([current = '', ...former]) => ({ current, former }))
    .optional(),
  /** The least that a service may ask for a call by `exact`, base units: what a transfer costs. */
  EXACT_MIN_PRICE_ATOMIC: z.coerce.bigint().positive().default(1_000n),
  /** Factories whose accounts may pay by `exact` before they are deployed (ERC-6492), comma between them. */
  EXACT_FACTORIES: z
    .string()
    .transform((text) => text.split(',').map((address) => address.trim()))
    .pipe(z.array(addressSchema))
    .default([]),
  /** What a transfer may take while a client waits for its answer. */
  EXACT_SETTLE_TIMEOUT_SECONDS: z.coerce.number().int().min(1).max(600).default(45),
  /** A transfer that waits longer than this is sent again with higher fees. */
  EXACT_STUCK_SECONDS: z.coerce.number().int().min(1).max(600).default(15),
  /** Payments by `exact` that this process is at. */
  EXACT_MAX_ACTIVE: z.coerce.number().int().min(1).max(1_000).default(64),
  /** No transfer is sent while the chain asks for more. */
  MAX_FEE_PER_GAS_WEI: z.coerce.bigint().positive().default(500_000_000_000n),
  /** Who may use the facilitator: whoever has an API key, everybody, or nobody. */
  FACILITATOR_ACCESS: z.enum(['keys', 'open', 'off']).default('keys'),
  /** Requests of one API key, or of one client where the facilitator is open, in a minute. */
  FACILITATOR_REQUESTS_PER_MINUTE: z.coerce.number().int().positive().default(600),
  /** Charges of this process that may wait for Postgres; beyond that paid calls are refused. */
  MAX_LEDGER_EVENTS: z.coerce.number().int().positive().default(100_000),
  MAX_GRANTS_IN_MEMORY: z.coerce.number().int().positive().default(100_000),
  MAX_ANSWER_BYTES: z.coerce
    .number()
    .int()
    .positive()
    .default(64 * 1024 * 1024),
})

export type Config = ParsedConfig<z.output<typeof configSchema>>

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) && new URL(text).origin === text
}

/** What no log may show: addresses of services carry keys. */
const secretNames = [
  'DATABASE_URL',
  'REDIS_URL',
  'RPC_URL',
  'OPERATOR_API_KEY',
  'WEBHOOK_ENCRYPTION_KEYS',
  'CLIENT_HASH_KEY',
  'RELAYER_KEY',
  'MPP_SECRETS',
  'RECEIPT_KEY',
] as const

/** @throws when the environment is not valid; the message names every problem at once and no value. */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  return parseConfig(configSchema, env, { whose: 'The gateway', secrets: secretNames })
}
