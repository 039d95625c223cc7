import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { parseConfig } from './parseConfig.ts'
import { readSecretFiles } from './readSecretFiles.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'secret-files-'))
  await writeFile(join(folder, 'key'), 'from a file\n')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('a secret comes out of the file that is named for it, without the line end', () => {
  const env = { KEY_FILE: join(folder, 'key'), OTHER: 'x' }
  expect(readSecretFiles(env, ['KEY'])).toEqual({ env: { KEY: 'from a file', OTHER: 'x' }, problems: [] })
})

test('what was not named a secret is left as it is, so that no variable can make a service read a file', () => {
  const env = { SSL_CERT_FILE: join(folder, 'key') }
  expect(readSecretFiles(env, ['KEY'])).toEqual({ env, problems: [] })
})

test('a secret that is set twice, and a file that is not there, are told by their names', () => {
  const schema = z.object({ KEY: z.string(), TOKEN: z.string(), PORT: z.coerce.number() })
  const env = {
    KEY: 'hidden',
    KEY_FILE: join(folder, 'key'),
    TOKEN_FILE: join(folder, 'missing'),
    PORT: 'no number',
  }
  const load = () => parseConfig(schema, env, { whose: 'The test', secrets: ['KEY', 'TOKEN'] })
  expect(load).toThrow(/KEY_FILE: goes without KEY; set one of them/)
  expect(load).toThrow(/TOKEN_FILE: \S*\/missing cannot be read \(ENOENT\)/)
  expect(load).toThrow(/PORT:/)
  expect(load).not.toThrow(/hidden/)
})

test('a service reads secrets from files as it reads them from variables, and hides them as well', () => {
  const config = parseConfig(
    z.object({ KEY: z.string() }),
    { KEY_FILE: join(folder, 'key') },
    {
      whose: 'The test',
      secrets: ['KEY'],
    },
  )
  expect(config.KEY).toBe('from a file')
  expect(config.secretValues).toContain('from a file')
  expect(JSON.stringify(config)).toBe('{"KEY":"[redacted]"}')
})
