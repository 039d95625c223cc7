import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { createTestGrant, startTestGateway, type TestGateway } from '@protocolbanks/stream-sdk/testing'
import { afterEach, beforeEach, expect, test } from 'vitest'

// The server of paid tools as its own process, asked by the protocol's own client.

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const token = 'a-token-for-the-tests-of-mcp'
const { grant, privateKey, sessionKey } = createTestGrant()
const closers: (() => Promise<unknown>)[] = []
let gateway: TestGateway
let folder: string

beforeEach(async () => {
  gateway = await startTestGateway({ grant, sessionKey })
  folder = await mkdtemp(join(tmpdir(), 'mcp-'))
  closers.push(gateway.close, () => rm(folder, { recursive: true, force: true }))
})
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function environment(budget: string): Promise<Record<string, string>> {
  const tools = [
    {
      name: 'weather',
      description: 'The weather in a city.',
      url: `${gateway.url}/paid/{city}`,
      arguments: {
        city: { description: 'Name of the city.' },
        units: { description: 'metric or imperial', required: false },
      },
      maxPrice: '0.02',
    },
    {
      name: 'order',
      description: 'Orders a report.',
      method: 'POST',
      url: `${gateway.url}/paid/orders`,
      arguments: { pages: { type: 'number', description: 'How many.' } },
    },
  ]
  const path = join(folder, 'tools.json')
  await writeFile(path, JSON.stringify({ budget, tools }))
  return { PATH: process.env.PATH ?? '', GRANT: JSON.stringify(grant), SESSION_KEY: privateKey, TOOLS: path }
}

async function connect(transport: Transport): Promise<Client> {
  const client = new Client({ name: 'test', version: '1.0.0' })
  await client.connect(transport)
  closers.push(() => client.close())
  return client
}

const overStdio = async (budget: string) =>
  connect(
    new StdioClientTransport({
      command: process.execPath,
      args: ['--import', 'tsx', main],
      env: await environment(budget),
      stderr: 'ignore',
    }),
  )

async function startHttp(budget: string): Promise<string> {
  const env = { ...(await environment(budget)), PORT: '0', TOKEN: token }
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', main], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  closers.push(async () => {
    if (child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  })
  if (!child.stderr) throw new Error('the child has no output')
  const [url] = await once(createInterface(child.stderr), 'line')
  return String(url)
}

async function overHttp(budget: string): Promise<Client> {
  const requestInit = { headers: { authorization: `Bearer ${token}` } }
  return connect(new StreamableHTTPClientTransport(new URL(await startHttp(budget)), { requestInit }) as Transport)
}

async function call(client: Client, name: string, values: Record<string, unknown> = {}) {
  const { content, isError = false } = await client.callTool({ name, arguments: values })
  const texts = (content as { type: string; text: string }[]).map(({ text }) => text)
  return { isError, texts }
}

test.each([
  ['standard input and output', overStdio],
  ['streamable HTTP', overHttp],
])(
  'over %s a model calls a paid API, and reads what it cost and what is left until nothing is',
  async (_, open) => {
    const client = await open('0.025')
    const { tools } = await client.listTools()
    expect(tools.map(({ name }) => name)).toEqual(['weather', 'order', 'payment_budget'])
    expect(tools[0]).toMatchObject({
      description: 'The weather in a city. Costs at most 0.02 USDC a call.',
      inputSchema: { required: ['city'], properties: { city: { type: 'string', description: 'Name of the city.' } } },
    })
    expect(await call(client, 'weather', { city: 'São Paulo', units: 'metric' })).toEqual({
      isError: false,
      texts: [
        'served /paid/S%C3%A3o%20Paulo?units=metric',
        'Cost: 0.01 USDC. Left of the budget: 0.015 USDC of 0.025 USDC.',
      ],
    })
    expect(await call(client, 'order', { pages: 3 })).toMatchObject({ isError: false })
    expect(gateway.arrivals.at(-1)).toMatchObject({ method: 'POST', body: '{"pages":3}' })

    const over = await call(client, 'weather', { city: 'Oslo' })
    expect(over.isError).toBe(true)
    expect(over.texts.join()).toMatch(
      /above the agent's budget.* Nothing was paid\. .*Left of the budget: 0\.005 USDC of 0\.025 USDC\./,
    )
    expect((await call(client, 'payment_budget')).texts).toEqual(['Left of the budget: 0.005 USDC of 0.025 USDC.'])
    expect(gateway.charged).toBe(20_000n)
  },
  120_000,
)

test('a price above what the tool may pay, and every refusal of the gateway, are told in words', async () => {
  const client = await overStdio('1')
  gateway.price = 30_000n
  const dear = await call(client, 'weather', { city: 'Oslo' })
  expect(dear).toMatchObject({ isError: true })
  expect(dear.texts.join()).toContain(
    'the API asks 0.03 USDC, and this tool pays at most 0.02 USDC a call. Nothing was paid.',
  )
  gateway.price = 10_000n
  gateway.refuse = () => ({
    status: 402,
    headers: { 'content-type': 'application/problem+json' },
    body: JSON.stringify({
      type: 't',
      title: 'The grant is frozen.',
      status: 402,
      code: 'grant.frozen',
      hint: 'Ask who froze it.',
    }),
  })
  const frozen = await call(client, 'order', { pages: 1 })
  expect(frozen.texts.join()).toBe(
    'The payment for order was refused (grant.frozen): The grant is frozen. Ask who froze it. Nothing was paid. Do not repeat it unchanged. Left of the budget: 1 USDC of 1 USDC.',
  )
  expect(gateway.charged).toBe(0n)
}, 120_000)

test('an argument cannot leave its place in the URL, and one that is missing is refused before anything is paid', async () => {
  const client = await overStdio('1')
  await call(client, 'weather', { city: '../../admin?x=1#y' })
  expect(gateway.arrivals.map(({ path }) => path)).toEqual(['/paid/..%2F..%2Fadmin%3Fx%3D1%23y'])
  expect((await call(client, 'weather', { city: '..' })).isError).toBe(true)
  expect((await call(client, 'weather', {})).isError).toBe(true)
  expect(gateway.arrivals).toHaveLength(1)
}, 120_000)

test('over HTTP nobody without the token spends anything', async () => {
  const url = await startHttp('1')
  for (const authorization of [undefined, 'Bearer wrong', `Basic ${token}`]) {
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers: authorization ? { authorization } : {} },
    })
    await expect(new Client({ name: 'test', version: '1.0.0' }).connect(transport as Transport)).rejects.toThrow()
  }
  expect(gateway.arrivals).toEqual([])
}, 120_000)

test('calls at once share the budget: as many are paid as fit', async () => {
  const client = await overHttp('0.03')
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, city) => call(client, 'weather', { city: `c${city}` })),
  )
  expect(answers.filter(({ isError }) => !isError)).toHaveLength(3)
  expect(gateway.charged).toBe(30_000n)
}, 120_000)

test('what is priced by use costs what it used, and the model is told what was held for it', async () => {
  const client = await overStdio('0.03')
  gateway.pricing = { kind: 'unit', unit: 'word', rate: { price: '1000', per: 1 } }
  gateway.used = 3_000n
  const { texts } = await call(client, 'weather', { city: 'Oslo' })
  expect(texts.at(-1)).toBe('Cost: 0.003 USDC by use, of 0.01 USDC held. Left of the budget: 0.027 USDC of 0.03 USDC.')
  gateway.price = 25_000n
  gateway.used = undefined
  expect((await call(client, 'weather', { city: 'Bergen' })).texts.join()).toContain(
    'the API asks up to 0.025 USDC, and this tool pays at most 0.02 USDC a call. Nothing was paid.',
  )
  expect(gateway.charged).toBe(3_000n)
}, 120_000)
