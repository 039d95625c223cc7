import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const script = fileURLToPath(new URL('../../../ops/compose/make-secrets.sh', import.meta.url))

/**
 * The secrets of compose.yaml, as ops/compose/make-secrets.sh draws them, with what an operator brings.
 *
 * @throws when the script finds that one is missing, with what it says
 */
export async function makeSecrets(folder: string, brought: Record<string, string>): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const [name, value] of Object.entries(brought)) await writeFile(join(folder, name), `${value}\n`)
  await run(script, [folder])
}

/** What nobody asks for where only the passwords are needed. */
const operators = ['rpc_url', 'bundler_url', 'settler_key', 'paymaster_signer_key', 'guardian_key']
export const anySecrets = Object.fromEntries(operators.map((name) => [name, 'x']))
