import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programsPath } from '../programs.ts'
import { type Findings, readFindings } from './readFindings.ts'

const maxOutputBytes = 256 * 1024 * 1024

/**
 * Compiles contracts/src of the forge project in `directory` and analyses it, by all detectors there are. One way to
 * compile all, as in coverage: a source that is compiled twice is analysed twice.
 *
 * @param python of an environment that has slither
 * @throws when it cannot be compiled or analysed
 */
export function analyzeProject(python: string, directory: string): Findings {
  const out = mkdtempSync(join(tmpdir(), 'stream-slither-'))
  try {
    const places = ['--out', out, '--cache-path', join(out, 'cache')]
    run('forge', ['build', 'contracts/src', '--via-ir', '--build-info', ...places], directory)
    const report = ['--json', '-', '--warn-unused-ignores', '--filter-paths', 'node_modules', '--fail-none']
    const build = ['--ignore-compile', '--foundry-out-directory', out]
    const { stdout, stderr } = run(python, ['-m', 'slither', '.', ...build, ...report], directory)
    return readFindings(stdout, stderr, 'contracts/src/')
  } finally {
    rmSync(out, { recursive: true, force: true })
  }
}

function run(program: string, args: string[], directory: string): { stdout: string; stderr: string } {
  const { status, error, stdout, stderr } = spawnSync(program, args, {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, FOUNDRY_PROFILE: 'coverage', PATH: programsPath },
    maxBuffer: maxOutputBytes,
  })
  if (error) throw error
  if (status !== 0)
    throw new Error(`${program} ended with ${status}.\n${stdout.slice(0, 2_000)}${stderr.slice(-2_000)}`)
  return { stdout, stderr }
}
