import { spawn } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type RunProgramOptions = {
  /** `pipe` hands standard output back instead of showing it, `all` what goes to standard error too. */
  output?: 'inherit' | 'pipe' | 'all'
  /** Where it runs; the root of the repository by default. */
  directory?: string
  /** Besides what this process has. */
  env?: Record<string, string>
  /** An hour by default. */
  timeoutMs?: number
}

/**
 * Of forge itself. Its npm package starts it through a script that ends with 0 whatever forge ends with.
 */
const forgeDirectory = `@foundry-rs/forge-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}/bin`

export const repositoryRoot = fileURLToPath(new URL('../../../', import.meta.url))

/**
 * Runs a program until it ends; programs of npm packages are found by their names.
 * A program that was ended by a signal, or by the time-out, counts as failed.
 */
export function runProgram(
  command: string,
  args: string[],
  { output = 'inherit', directory = repositoryRoot, env = {}, timeoutMs = 60 * 60_000 }: RunProgramOptions = {},
): Promise<{ exitCode: number; stdout: string }> {
  const modules = join(repositoryRoot, 'node_modules')
  const path = [join(modules, forgeDirectory), join(modules, '.bin'), process.env.PATH].filter(Boolean).join(delimiter)
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: directory,
      env: { ...process.env, ...env, PATH: path },
      stdio: ['ignore', output === 'inherit' ? 'inherit' : 'pipe', output === 'all' ? 'pipe' : 'inherit'],
      timeout: timeoutMs,
    })
    const chunks: Buffer[] = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.once('error', (cause) => reject(new Error(`Cannot run ${command}. Run npm ci first.`, { cause })))
    child.once('close', (code) => resolve({ exitCode: code ?? 1, stdout: Buffer.concat(chunks).toString('utf8') }))
  })
}
