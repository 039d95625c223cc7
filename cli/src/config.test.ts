import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'

const PB_URL = 'http://127.0.0.1:4020/'
const PB_KEY = 'operator-key-of-this-test'

test('options go before the environment, and a key may come from a file', async () => {
  expect(await loadConfig({}, { PB_URL, PB_KEY })).toEqual({ url: 'http://127.0.0.1:4020', key: PB_KEY })
  const directory = await mkdtemp(join(tmpdir(), 'pb-'))
  try {
    const keyFile = join(directory, 'key')
    await writeFile(keyFile, 'another-operator-key\n')
    expect(await loadConfig({ url: 'https://pay.example/x/', keyFile }, { PB_URL, PB_KEY })).toEqual({
      url: 'https://pay.example/x',
      key: 'another-operator-key',
    })
    const missing = loadConfig({ keyFile: join(directory, 'none') }, { PB_URL })
    await expect(missing).rejects.toMatchObject({ lines: expect.arrayContaining(['Reason: ENOENT']) })
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('every problem is named at once, and no value', async () => {
  const error = await loadConfig({}, { PB_URL: 'file:///etc/secret', PB_KEY: 'se cret' }).catch((thrown) => thrown)
  const text = [error.message, ...error.lines].join('\n')
  expect(text).toContain('PB_URL: ')
  expect(text).toContain('PB_KEY: ')
  expect(text).not.toMatch(/se ?cret/)
})
