import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export type PbResult = { code: number | null; stdout: string; stderr: string }

const root = fileURLToPath(new URL('../../../', import.meta.url))
const timeoutMs = 120_000

/** Runs the command as an operator does, as a process of its own; any exit code is an answer. */
export function runPb(args: readonly string[], env: { PB_URL?: string; PB_KEY?: string }): Promise<PbResult> {
  const { PATH = '' } = process.env
  const child = spawn(process.execPath, ['cli/bin/pb.js', ...args], {
    cwd: root,
    env: { PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  const result: PbResult = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    result.stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    result.stderr += chunk.toString()
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...result, code }))
  })
}
