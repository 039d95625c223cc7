import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createFileStore } from '../node/createFileStore.ts'
import { problem, startTestGateway, type TestGatewayOptions } from '../testing/startTestGateway.ts'
import { createTestGrant } from '../testing/testGrant.ts'
import { createMemoryStore } from './agentStore.ts'
import { createPayingFetch, type PayingFetchOptions } from './createPayingFetch.ts'
import { toSigner } from './signer.ts'

const closers: (() => Promise<unknown>)[] = []
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agent-'))
})
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
  await rm(folder, { recursive: true, force: true })
})

async function setUp(gatewayOptions: Partial<TestGatewayOptions> = {}) {
  const { grant, privateKey, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey, ...gatewayOptions })
  closers.push(gateway.close)
  const start = (options: Partial<PayingFetchOptions> = {}) =>
    createPayingFetch({ grant, sessionKey: privateKey, sleep: async () => {}, ...options })
  return { gateway, grant, start, signer: toSigner(privateKey, grant), url: `${gateway.url}/paid` }
}

test.each([
  ['in memory', () => createMemoryStore()],
  ['in a file', () => createFileStore(join(folder, 'state'))],
])('a restarted agent that remembers %s goes on where it was, with one request a call', async (_, createStore) => {
  const { gateway, start, url } = await setUp()
  const store = createStore()
  const first = start({ store })
  for (let call = 0; call < 3; call++) await first(url)
  await first.saved()
  const second = start({ store })
  const arrivals = gateway.arrivals.length
  await second(url)
  expect(gateway.arrivals.length - arrivals).toBe(1)
  expect(gateway.arrivals.at(-1)?.cumulativeAmount).toBe(40_000n)
  expect(second.spentAtomic()).toBe(40_000n)
  expect(gateway.charged).toBe(40_000n)
})

test('what was signed is written before it leaves: a process that dies with calls open counts them as charged', async () => {
  const store = createFileStore(folder)
  const { grant, start, url } = await setUp({ onArrival: () => new Promise(() => {}) })
  const dying = start({ store })
  const controller = new AbortController()
  const call = dying(url, { signal: controller.signal }).catch(() => undefined)
  await expect
    .poll(async () => readFile(join(folder, `${grant.grantId}.json`), 'utf8').catch(() => ''))
    .toContain('10000')
  const state = JSON.parse(await readFile(join(folder, `${grant.grantId}.json`), 'utf8'))
  expect(state.ledger.channels).toMatchObject([{ charged: '10000', authorized: '10000' }])
  controller.abort()
  await call
})

test('hourly limits and limits of a host hold across restarts', async () => {
  const { start, url, gateway } = await setUp()
  const store = createMemoryStore()
  const limits = { maxPerHour: '0.03', perHost: { '127.0.0.1': { maxTotal: '0.02' } } }
  for (let restart = 0; restart < 2; restart++) {
    const payingFetch = start({ store, limits })
    await payingFetch(url)
    await payingFetch.saved()
  }
  await expect(start({ store, limits })(url)).rejects.toMatchObject({ limit: 'maxTotal', host: '127.0.0.1' })
  const last = start({ store, limits: { maxPerHour: '0.03' } })
  await last(url)
  await last.saved()
  await expect(start({ store, limits: { maxPerHour: '0.03' } })(url)).rejects.toMatchObject({ limit: 'maxPerHour' })
  expect(gateway.charged).toBe(30_000n)
})

test('many calls at once share few writes, and the last one tells all', async () => {
  const { start, signer, url, gateway, grant } = await setUp()
  let saves = 0
  let saving = 0
  let signed = 0
  let end = () => {}
  const allSigned = new Promise<void>((resolve) => {
    end = resolve
  })
  const memory = createMemoryStore()
  const payingFetch = start({
    sessionKey: {
      address: signer.address,
      async sign(voucher) {
        const signature = await signer.sign(voucher)
        if (++signed === 41) end()
        return signature
      },
    },
    store: {
      load: memory.load,
      async save(grantId, state) {
        expect(++saving).toBe(1)
        // The first write of the forty takes until all of them wait for one.
        if (signed > 1) await allSigned
        await memory.save(grantId, state)
        saves++
        saving--
      },
    },
  })
  await payingFetch(url)
  await Promise.all(Array.from({ length: 40 }, () => payingFetch(url)))
  expect(gateway.charged).toBe(410_000n)
  await expect
    .poll(async () => JSON.parse((await memory.load(grant.grantId)) ?? '{}').ledger.channels[0].charged)
    .toBe('410000')
  // Two of the first call, three of the forty at most, and one for each of their answers: not two for each of them.
  expect(saves).toBeLessThanOrEqual(45)
})

test('a store that cannot be written or read sends no payment', async () => {
  const { start, url, gateway, grant } = await setUp()
  const full = { load: async () => undefined, save: () => Promise.reject(new Error('the disk is full')) }
  await expect(start({ store: full })(url)).rejects.toThrow('the disk is full')
  await writeFile(join(folder, `${grant.grantId}.json`), '{"version":9}')
  await expect(start({ store: createFileStore(folder) })(url)).rejects.toMatchObject({ code: 'agent.state_malformed' })
  expect(gateway.arrivals).toEqual([])
})

test('the file is for its user alone, and no half of one stays', async () => {
  const { start, url, grant } = await setUp()
  const payingFetch = start({ store: createFileStore(folder) })
  await payingFetch(url)
  await payingFetch.saved()
  expect(await readdir(folder)).toEqual([`${grant.grantId}.json`])
  expect((await stat(join(folder, `${grant.grantId}.json`))).mode & 0o777).toBe(0o600)
})

test('a payment that is not confirmed is not signed, and its room is given back', async () => {
  const { start, url, gateway, grant } = await setUp()
  const asked: unknown[] = []
  let answer = false
  const payingFetch = start({
    limits: { maxTotal: '0.01' },
    confirm(request) {
      asked.push(request)
      return answer
    },
  })
  await expect(payingFetch(url)).rejects.toMatchObject({ code: 'agent.declined' })
  expect(gateway.arrivals).toEqual([])
  answer = true
  expect((await payingFetch(url)).status).toBe(200)
  const request = {
    url,
    method: 'GET',
    service: 'weather',
    payee: grant.payees[0],
    priceAtomic: 10_000n,
    pricing: { kind: 'call' },
    segment: 1,
  }
  expect(asked).toEqual([request, request])
  expect(payingFetch.receipts()).toMatchObject([{ url, amountAtomic: 10_000n, chargedAtomic: 10_000n }])
})

test('a changed price is confirmed anew', async () => {
  const { start, url, gateway } = await setUp()
  const prices: bigint[] = []
  const payingFetch = start({ confirm: ({ priceAtomic }) => prices.push(priceAtomic) > 0 })
  await payingFetch(url)
  gateway.price = 30_000n
  await payingFetch(url)
  expect(prices).toEqual([10_000n, 10_000n, 30_000n])
})

test('a price that comes about in another way is confirmed anew, though its amount stays', async () => {
  const { start, url, gateway } = await setUp()
  const asked: string[] = []
  const payingFetch = start({ confirm: ({ pricing, priceAtomic }) => asked.push(`${pricing.kind} ${priceAtomic}`) > 0 })
  await payingFetch(url)
  gateway.pricing = { kind: 'unit', unit: 'page', rate: { price: '10000', per: 1 } }
  const offer = (await fetch(url)).headers.get('payment-required') ?? ''
  gateway.refuse = () => {
    gateway.refuse = () => undefined
    return problem(402, 'price.changed', { 'payment-required': offer })
  }
  await payingFetch(url)
  expect(asked).toEqual(['call 10000', 'call 10000', 'unit 10000'])
})

test('limits of a host bind that host alone', async () => {
  const { start, url, gateway } = await setUp()
  const { host } = new URL(url)
  const payingFetch = start({ limits: { perHost: { [host]: { maxPerCall: '0.005' }, 'api.example.com': {} } } })
  await expect(payingFetch(url)).rejects.toThrow(`The call would go above the agent's maxPerCall for ${host}.`)
  expect(gateway.arrivals).toEqual([])
  expect((await start({ limits: { perHost: { 'api.example.com': { maxPerCall: 0n } } } })(url)).status).toBe(200)
})

test('the last hundred receipts are kept', async () => {
  const { start, url } = await setUp()
  const payingFetch = start()
  for (let call = 0; call < 105; call++) await payingFetch(url)
  const receipts = payingFetch.receipts()
  expect(receipts).toHaveLength(100)
  expect([receipts[0]?.chargedAtomic, receipts.at(-1)?.chargedAtomic]).toEqual([60_000n, 1_050_000n])
})

test('a budget bounds one paying fetch, whatever was spent before, and says what is left', async () => {
  const { start, url, gateway } = await setUp()
  await start()(url)
  const payingFetch = start({ limits: { budget: '0.025' } })
  expect(payingFetch.remainingAtomic()).toBe(25_000n)
  const calls = await Promise.allSettled(Array.from({ length: 5 }, () => payingFetch(url)))
  expect(calls.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
  await expect(payingFetch(url)).rejects.toMatchObject({ limit: 'budget', limitAtomic: 25_000n, neededAtomic: 30_000n })
  expect(payingFetch.remainingAtomic()).toBe(5_000n)
  expect(gateway.charged).toBe(30_000n)
})
