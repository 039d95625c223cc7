import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const requirements = fileURLToPath(new URL('requirements.txt', import.meta.url))

/**
 * Installs slither, a program of its own under the AGPL, into a Python environment below `cacheDirectory` that is named
 * after its requirements. Made once, beside its place, and moved there when it is complete: several runs may do so at once.
 *
 * @returns path of the environment's Python, which runs it by `-m slither`
 * @throws when there is no Python 3.10 or later with venv
 */
export function ensureSlither(cacheDirectory: string): string {
  const hash = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 16)
  const environment = join(cacheDirectory, `slither-${hash}`)
  if (!existsSync(environment)) install(environment, `${environment}.${process.pid}`)
  return join(environment, 'bin/python')
}

function install(environment: string, making: string): void {
  mkdirSync(dirname(environment), { recursive: true })
  try {
    execFileSync('python3', ['-m', 'venv', making], { stdio: 'inherit' })
  } catch (cause) {
    rmSync(making, { recursive: true, force: true })
    throw new Error(
      "slither needs Python 3.10 or later with venv: install Debian's packages python3 and python3-venv.",
      {
        cause,
      },
    )
  }
  try {
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '-r', requirements]
    execFileSync(join(making, 'bin/python'), pip, { stdio: 'inherit' })
    renameSync(making, environment)
  } catch (error) {
    rmSync(making, { recursive: true, force: true })
    if (!existsSync(environment)) throw error
  }
}
