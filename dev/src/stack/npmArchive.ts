import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { createTempDir } from '../processes/createTempDir.ts'

const run = promisify(execFile)
const timeoutMs = 120_000

export type NpmArchive = {
  name: string
  /** Exact. */
  version: string
  /** SHA-512 of the archive as the registry names it: `sha512-...`. */
  integrity: string
}

/**
 * One file out of an npm package that is not installed: for programs under another licence, which tests use as they are
 * and nothing of ours contains. The archive comes by `npm pack` once, and stays in the user's cache folder.
 *
 * @param path inside the package, e.g. `src/Code.sol`
 * @throws when npm cannot fetch it, when it is not what `integrity` says, or has no such file
 */
export async function readNpmArchive(archive: NpmArchive, path: string): Promise<string> {
  const { name, version } = archive
  const file = readTar(gunzipSync(await fetchArchive(archive)), `package/${path}`)
  if (!file) throw new Error(`${name}@${version} has no file ${path}.`)
  return file.toString('utf8')
}

async function fetchArchive(archive: NpmArchive): Promise<Buffer> {
  const { name, version } = archive
  const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'protocol-banks-stream')
  const path = join(folder, `${name.replace(/^@/, '').replaceAll('/', '-')}-${version}.tgz`)
  const cached = await readFile(path).catch(() => undefined)
  // A file that is broken or of somebody else is fetched again.
  if (cached && integrityOf(cached) === archive.integrity) return cached

  const directory = await createTempDir('npm-archive')
  try {
    const { stdout } = await run('npm', ['pack', '--silent', `${name}@${version}`], {
      cwd: directory.path,
      timeout: timeoutMs,
    })
    const packed = join(directory.path, basename(stdout.trim().split('\n').at(-1) ?? ''))
    const bytes = await readFile(packed)
    const found = integrityOf(bytes)
    if (found !== archive.integrity) {
      throw new Error(
        `npm pack ${name}@${version} gave an archive with ${found}; expected is ${archive.integrity}. Do not use it, and check the registry.`,
      )
    }
    // Others may do the same now: whoever comes last replaces it with the same bytes.
    await mkdir(folder, { recursive: true })
    const own = `${path}.${randomUUID()}`
    await writeFile(own, bytes)
    await rename(own, path)
    return bytes
  } finally {
    await directory.remove()
  }
}

function integrityOf(bytes: Buffer): string {
  return `sha512-${createHash('sha512').update(bytes).digest('base64')}`
}

const blockSize = 512

/** A file of a ustar archive, as POSIX describes it: a header block, then the content in whole blocks. */
function readTar(tar: Buffer, wanted: string): Buffer | undefined {
  for (let offset = 0; offset + blockSize <= tar.length; ) {
    const text = (from: number, length: number) =>
      tar.toString('utf8', offset + from, offset + from + length).replace(/\0.*$/s, '')
    const prefix = text(345, 155)
    const name = prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`
    const size = Number.parseInt(text(124, 12), 8) || 0
    const start = offset + blockSize
    if (name === wanted) return tar.subarray(start, start + size)
    offset = start + Math.ceil(size / blockSize) * blockSize
  }
  return undefined
}
