import { addressSchema } from '@protocolbanks/stream-protocol'
import {
  type Env,
  type ParsedConfig,
  parseConfig,
  privateKeySchema,
  processFields,
} from '@protocolbanks/stream-runtime'
import { z } from 'zod'
import { alertFields, alertSecrets, checkAlertFields } from './alerts/alertConfig.ts'
import { firstRules } from './rules/firstRules.ts'

const configSchema = z
  .object({
    ...processFields({ port: 4023, traceRatio: 1 }),
    DATABASE_URL: z.url(),
    RPC_URL: z.url(),
    CHAIN_ID: z.coerce.number().int().positive(),
    SESSION_MODULE: addressSchema,
    /** Of gateways of this deployment, with commas between them: the first that answers tells and does everything. */
    GATEWAY_URLS: z
      .string()
      .transform((text) => text.split(','))
      .pipe(z.array(z.url()).min(1).max(32)),
    /** An operator's key of the management API: it reads the feed of usage, and freezes. */
    GATEWAY_API_KEY: z.string().min(24),
    /**
     * Private key of the guardian that accounts name. It signs freezes and revocations and nothing else. Without it grants
     * are stopped at the gateways alone.
     */
    GUARDIAN_KEY: privateKeySchema.optional(),
    /** Of the token that grants are in; 6 for USDC. */
    TOKEN_DECIMALS: z.coerce.number().int().min(0).max(18).default(6),
    /** How often open stops are looked at. */
    POLL_MS: z.coerce.number().int().min(50).default(1_000),
    /** A freeze that waits longer for a block is sent again with higher fees. */
    STUCK_MS: z.coerce.number().int().min(1_000).default(12_000),
    MAX_FEE_PER_GAS_WEI: z.coerce.bigint().positive().default(500_000_000_000n),
    /** Gas of one transaction that stops many grants; what needs more is split. */
    STOPS_MAX_GAS: z.coerce.bigint().min(100_000n).max(16_777_216n).default(3_000_000n),
    /** What is done with vouchers accepted before a stop, where the owner says nothing: they wait, or are settled first. */
    VOUCHER_POLICY: z.enum(['hold', 'settle']).default('hold'),
    /** How long the freeze on the chain waits for that at most. */
    SETTLE_FIRST_SECONDS: z.coerce.number().int().min(1).max(3_600).default(60),
    /** How long a grant that its owner lets go on is watched more closely. */
    HALF_OPEN_SECONDS: z.coerce.number().int().min(1).default(600),
    /** So many freezes of a grant within so many hours revoke it. */
    REVOKE_AFTER_STOPS: z.coerce.number().int().min(2).max(1_000).default(3),
    REVOKE_WITHIN_HOURS: z.coerce.number().positive().max(8_760).default(24),
    /** A critical incident revokes when so much of the grant's whole budget, in per cent, is not settled; 0: never. */
    REVOKE_AT_PERCENT: z.coerce.bigint().min(0n).max(100n).default(0n),
    /** An incident that stopped nothing is closed when it was not found again for so long. */
    QUIET_HOURS: z.coerce.number().positive().default(24),
    /** Calls of one grant within any 60 seconds; more freeze it. */
    MAX_CALLS_PER_MINUTE: z.coerce.number().int().min(1).max(100_000).default(firstRules.mostCallsPerMinute),
    /** A grant's first minutes, in which the number of calls does not count: agents begin with a burst. */
    WARM_UP_SECONDS: z.coerce
      .number()
      .int()
      .nonnegative()
      .default(firstRules.rateWarmUpMs / 1_000),
    /** After an alarm the score of a grant says nothing for so long. */
    COOLDOWN_SECONDS: z.coerce.number().int().positive().default(600),
    /** Of the journal, that a sentinel learns from at its very first start. */
    LEARN_HOURS: z.coerce.number().nonnegative().default(24),
    MAX_GRANTS_IN_MEMORY: z.coerce.number().int().positive().default(100_000),
    ...alertFields,
  })
  .superRefine(checkAlertFields)

export type Config = ParsedConfig<z.output<typeof configSchema>>

/** @throws when the environment is not valid; the message names every problem at once and no value. */
export function loadConfig(env: Env = process.env): Config {
  return parseConfig(configSchema, env, {
    whose: 'The sentinel',
    secrets: ['DATABASE_URL', 'RPC_URL', 'GATEWAY_URLS', 'GATEWAY_API_KEY', 'GUARDIAN_KEY', ...alertSecrets],
  })
}
