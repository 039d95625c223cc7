import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const requirements = fileURLToPath(new URL('requirements.txt', import.meta.url))

/**
 * Installs slither, a program of its own under the AGPL, into a Python environment below `cacheDirectory` that is named
 * after its requirements, so that it is made once.
 *
 * @returns path of the program
 * @throws when there is no Python 3.10 or later with venv
 */
export function ensureSlither(cacheDirectory: string): string {
  const hash = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 16)
  const environment = join(cacheDirectory, `slither-${hash}`)
  const finished = join(environment, 'finished')
  if (!existsSync(finished)) {
    rmSync(environment, { recursive: true, force: true })
    mkdirSync(cacheDirectory, { recursive: true })
    try {
      execFileSync('python3', ['-m', 'venv', environment], { stdio: 'inherit' })
    } catch (cause) {
      throw new Error(
        "slither needs Python 3.10 or later with venv: install Debian's packages python3 and python3-venv.",
        {
          cause,
        },
      )
    }
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '-r', requirements]
    execFileSync(join(environment, 'bin/python'), pip, { stdio: 'inherit' })
    writeFileSync(finished, '')
  }
  return join(environment, 'bin/slither')
}
