import { spawn } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type RunProgramOptions = {
  /** `pipe` hands standard output back instead of showing it. */
  output?: 'inherit' | 'pipe'
  /** 30 minutes by default. */
  timeoutMs?: number
}

export const repositoryRoot = fileURLToPath(new URL('../../../', import.meta.url))

/**
 * Runs a program in the root of the repository until it ends; programs of npm packages are found by their names.
 * A program that was ended by a signal, or by the time-out, counts as failed.
 */
export function runProgram(
  command: string,
  args: string[],
  { output = 'inherit', timeoutMs = 30 * 60_000 }: RunProgramOptions = {},
): Promise<{ exitCode: number; stdout: string }> {
  const path = [join(repositoryRoot, 'node_modules', '.bin'), process.env.PATH].filter(Boolean).join(delimiter)
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: repositoryRoot,
      env: { ...process.env, PATH: path },
      stdio: ['ignore', output, 'inherit'],
      timeout: timeoutMs,
    })
    const chunks: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.once('error', (cause) => reject(new Error(`Cannot run ${command}. Run npm ci first.`, { cause })))
    child.once('close', (code) => resolve({ exitCode: code ?? 1, stdout: Buffer.concat(chunks).toString('utf8') }))
  })
}
