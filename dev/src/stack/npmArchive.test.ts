import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { repositoryRoot } from '../checks/runProgram.ts'
import { createTempDir, type TempDir } from '../processes/createTempDir.ts'
import { type NpmArchive, readNpmArchive } from './npmArchive.ts'

// With a small package that is installed anyway: what it has in node_modules says what the archive must have.

const cacheBefore = process.env.XDG_CACHE_HOME
let cache: TempDir
let archive: NpmArchive
beforeAll(async () => {
  cache = await createTempDir('npm-cache')
  process.env.XDG_CACHE_HOME = cache.path
  const lock = JSON.parse(await readFile(join(repositoryRoot, 'package-lock.json'), 'utf8'))
  const { version, integrity } = lock.packages['node_modules/isows']
  archive = { name: 'isows', version, integrity }
})
afterAll(async () => {
  if (cacheBefore === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = cacheBefore
  await cache?.remove()
})

const timeout = 120_000

test('a file of a package that is fetched is the one that npm installs, and comes from the cache the next time', {
  timeout,
}, async () => {
  const installed = await readFile(join(repositoryRoot, 'node_modules/isows/package.json'), 'utf8')
  expect(await readNpmArchive(archive, 'package.json')).toBe(installed)
  const [file = ''] = await readdir(join(cache.path, 'protocol-banks-stream'))
  // A broken one is found out and replaced.
  const path = join(cache.path, 'protocol-banks-stream', file)
  const whole = await readFile(path)
  await writeFile(path, whole.subarray(0, 100))
  expect(await readNpmArchive(archive, 'package.json')).toBe(installed)
  expect(await readFile(path)).toEqual(whole)
})

test('an archive that is not what was expected is refused and not kept', { timeout }, async () => {
  const other = { ...archive, integrity: `sha512-${'A'.repeat(86)}==` }
  await expect(readNpmArchive(other, 'package.json')).rejects.toThrow(other.integrity)
  expect(await readNpmArchive(archive, 'package.json')).toContain('isows')
})

test('a file that the package does not have is named', { timeout }, async () => {
  await expect(readNpmArchive(archive, 'src/nothing.sol')).rejects.toThrow('src/nothing.sol')
})
