import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { createPayingFetch } from '../src/index.ts'
import { startTestGateway } from '../src/testing/startTestGateway.ts'
import { createTestGrant } from '../src/testing/testGrant.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function run(file: string, env: Record<string, string>, ...args: string[]): ChildProcess {
  // There, so that the compiler reads the examples' own options.
  const cwd = fileURLToPath(new URL('../../examples/', import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', `src/${file}`, ...args], {
    cwd,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  closers.push(async () => {
    if (child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  })
  return child
}

async function output(child: ChildProcess): Promise<string> {
  if (!child.stdout || !child.stderr) throw new Error('the child has no output')
  const [out, error] = await Promise.all([text(child.stdout), text(child.stderr)])
  return out + error
}

test.each(['merchant-hono.ts', 'merchant-express.ts', 'merchant-fastify.ts', 'merchant-nest.ts'])(
  'the agent pays %s per call',
  async (file) => {
    const { grant, privateKey, sessionKey } = createTestGrant()
    const gateway = await startTestGateway({ grant, sessionKey })
    closers.push(gateway.close)
    const merchant = run(file, { API_KEY: 'test-key', GATEWAY_URL: gateway.url, PORT: '0' })
    if (!merchant.stdout) throw new Error('the child has no output')
    const [line] = await once(merchant.stdout, 'data')
    const url = String(line).trim()

    const agent = run('agent.ts', { GRANT: JSON.stringify(grant), SESSION_KEY: privateKey }, url, '2')
    const said = await output(agent)
    expect(said).toMatch(
      /^paid 0\.01, 0\.01 in total \(req_\w+\)\n200 \{"city":"oslo".*\}\npaid 0\.01, 0\.02 in total \(req_\w+\)\n200 /,
    )
    expect(gateway.charged).toBe(20_000n)
  },
  180_000,
)

test('the chat streams, and costs the tokens that it says it used', async () => {
  const { grant, privateKey, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey })
  closers.push(gateway.close)
  const merchant = run('merchant-chat.ts', { API_KEY: 'test-key', GATEWAY_URL: gateway.url, PORT: '0' })
  if (!merchant.stdout) throw new Error('the child has no output')
  const [line] = await once(merchant.stdout, 'data')
  const payingFetch = createPayingFetch({ grant, sessionKey: privateKey })
  const body = JSON.stringify({ prompt: 'four words of yours', stream: true })
  const headers = { 'content-type': 'application/json' }
  const answer = await payingFetch(String(line).trim(), { method: 'POST', headers, body })
  expect(await answer.text()).toMatch(/"four "[\s\S]*"completion_tokens":4[\s\S]*\[DONE\]\n\nevent: payment-receipt\n/)
  // 4 at 0.15 and 4 at 0.60 for a million, rounded up once.
  expect(payingFetch.receipts()).toMatchObject([{ amountAtomic: 3n }])
  expect(gateway.charged).toBe(3n)
}, 180_000)

test('a missing setting is named', async () => {
  expect(await output(run('agent.ts', {}, 'http://127.0.0.1:1'))).toBe('Set GRANT: see examples/README.md.\n')
}, 180_000)

test.each([
  'src/merchant-hono.ts',
  'src/merchant-express.ts',
  'src/merchant-fastify.ts',
  'src/merchant-nest.ts',
  'next/app/weather/[city]/route.js',
  'next/next.config.mjs',
  'src/merchant-chat.ts',
  'src/merchant-self-hosted.ts',
])('what docs/merchants.md shows is examples/%s as it runs', async (file) => {
  const root = new URL('../../', import.meta.url)
  const example = await readFile(new URL(`examples/${file}`, root), 'utf8')
  const document = await readFile(new URL('docs/merchants.md', root), 'utf8')
  const samples = [...document.matchAll(/^```[jt]s\n([\s\S]*?)^```/gm)].map(([, sample]) => sample)
  // Without what is for this repository alone: the command in the first line, and marks for the linter.
  const shown = example.replace(/^\/\/ .*npm run.*\n/, '').replaceAll(/^\/\/ biome-ignore.*\n/gm, '')
  expect(samples).toContain(shown)
})
