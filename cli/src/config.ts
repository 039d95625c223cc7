import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { CliError } from './cliError.ts'

/** Where the gateway is, and who asks. */
export type Config = Readonly<{ url: string; key: string }>

const configSchema = z.object({
  PB_URL: z.url({ protocol: /^https?$/, error: 'must be the http(s) address of a gateway' }),
  PB_KEY: z.string({ error: 'must be an API key' }).regex(/^[\x21-\x7e]{16,200}$/, 'must be an API key'),
})

/**
 * Options first, then PB_URL and PB_KEY of the environment. A key comes from the environment or a file, never from an
 * option: others on the machine see those.
 *
 * @throws CliError that names every problem and no value
 */
export async function loadConfig(
  { url, keyFile }: { url?: string | undefined; keyFile?: string | undefined },
  env: Record<string, string | undefined> = process.env,
): Promise<Config> {
  const key = keyFile === undefined ? env.PB_KEY : await readKey(keyFile)
  const parsed = configSchema.safeParse({ PB_URL: url ?? env.PB_URL, PB_KEY: key })
  if (parsed.success) return Object.freeze({ url: parsed.data.PB_URL.replace(/\/+$/, ''), key: parsed.data.PB_KEY })
  throw new CliError('The configuration is not valid.', [
    ...parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`),
    'Set PB_URL (or --url) to the gateway and PB_KEY (or --key-file) to an API key of the operator.',
  ])
}

async function readKey(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new CliError('The file of the API key cannot be read.', [`File: ${path}`, `Reason: ${reason}`])
  }
}
