import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestGrant } from '@protocolbanks/stream-sdk/testing'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { toolSettingsSchema } from './toolSettings.ts'

const { grant, privateKey } = createTestGrant()
let folder: string
let TOOLS: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-'))
  TOOLS = join(folder, 'tools.json')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const tool = { name: 'a', description: 'A.', url: 'https://api.example.com/a' }

test('names what is missing, and shows no secret', async () => {
  expect(() => loadConfig({ SESSION_KEY: privateKey.slice(0, 20) })).toThrow(
    /GRANT[\s\S]*TOOLS|SESSION_KEY[\s\S]*GRANT/,
  )
  expect(() => loadConfig({ SESSION_KEY: privateKey.slice(0, 20) })).not.toThrow(privateKey.slice(0, 20))
  await writeFile(TOOLS, JSON.stringify({ budget: '1', tools: [tool] }))
  const env = { GRANT: JSON.stringify(grant), SESSION_KEY: privateKey, TOOLS }
  expect(loadConfig(env)).toMatchObject({ HOST: '127.0.0.1', settings: { budget: '1' } })
  expect(() => loadConfig({ ...env, PORT: '4040' })).toThrow('Set TOKEN')
})

test.each([
  ['a host that an argument chooses', { ...tool, url: 'https://{host}/a', arguments: { host: { description: 'h' } } }],
  ['credentials in the host', { ...tool, url: 'https://a@evil.example/{x}', arguments: { x: { description: 'x' } } }],
  ['a place without an argument', { ...tool, url: 'https://api.example.com/{city}' }],
  [
    'a place with an argument that may be missing',
    { ...tool, url: 'https://api.example.com/{c}', arguments: { c: { description: 'c', required: false } } },
  ],
  ['a file', { ...tool, url: 'file:///etc/passwd' }],
])('a tool with %s is refused', (_, bad) => {
  expect(toolSettingsSchema.safeParse([bad]).success).toBe(false)
})

test('two tools of one name are refused', () => {
  expect(toolSettingsSchema.safeParse([tool, tool]).success).toBe(false)
  expect(toolSettingsSchema.safeParse([tool]).success).toBe(true)
})
