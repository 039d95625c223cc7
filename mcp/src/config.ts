import { readFileSync } from 'node:fs'
import { type AgentGrant, parseGrant } from '@protocolbanks/stream-sdk'
import { z } from 'zod'
import { toolSettingsSchema } from './toolSettings.ts'

const envSchema = z.object({
  /** The grant as the management API shows it, in JSON. */
  GRANT: z.string().transform((text) => parseGrant(JSON.parse(text))),
  /** Private half of the session key. */
  SESSION_KEY: z.string().regex(/^0x[0-9a-fA-F]{64}$/, 'must be 32 bytes in hex'),
  /** JSON file with the tools and the budget. */
  TOOLS: z.string().min(1),
  /** Folder where the agent remembers what it signed. Without it that is forgotten when the process ends. */
  STATE: z.string().min(1).optional(),
  /** Serves over HTTP at /mcp of this port. Without it: over standard input and output. */
  PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  HOST: z.string().default('127.0.0.1'),
  /** What clients over HTTP send as `Authorization: Bearer`: whoever has it spends the budget. */
  TOKEN: z.string().min(24, 'must have 24 characters at least').optional(),
})

const fileSchema = z.strictObject({
  tools: toolSettingsSchema,
  /** In the token's units. */
  budget: z.string(),
  maxPerCall: z.string().optional(),
  maxPerHour: z.string().optional(),
})

export type Config = Omit<z.output<typeof envSchema>, 'SESSION_KEY' | 'TOOLS'> & {
  SESSION_KEY: `0x${string}`
  GRANT: AgentGrant
  settings: z.output<typeof fileSchema>
}

/** @throws when the environment or the file is not valid, naming every problem and no value */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  const parsed = envSchema.safeParse(env)
  if (!parsed.success) throw new Error(`Set the environment of the tools' server:\n${z.prettifyError(parsed.error)}`)
  const { TOOLS, SESSION_KEY, ...rest } = parsed.data
  if (rest.PORT !== undefined && rest.TOKEN === undefined)
    throw new Error('Set TOKEN: with PORT, whoever connects could pay.')
  const file = fileSchema.safeParse(JSON.parse(readFileSync(TOOLS, 'utf8')))
  if (!file.success) throw new Error(`${TOOLS} does not list tools and a budget:\n${z.prettifyError(file.error)}`)
  return { ...rest, SESSION_KEY: SESSION_KEY as `0x${string}`, settings: file.data }
}
