import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { devAccounts, type Stack, startStack } from '@protocolbanks/stream-dev'
import { decodeHeader, sessionReceiptSchema, settleResponseSchema } from '@protocolbanks/stream-protocol'
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '@protocolbanks/stream-runtime/testing'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { runPb } from './testing/runPb.ts'
import { settleAll } from './testing/settleAll.ts'

// One correlation id, followed through every process from the request's header to the transaction that paid for it.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }
const traceId = '0af7651916cd43dd8448eb211c80319c'
const callerSpanId = 'b7ad6b7169203331'

let receiver: OtlpReceiver
let stack: Stack
let shop: Shop
let budget: Budget
let requestId: string
beforeAll(async () => {
  receiver = await startOtlpReceiver()
  const traced = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }
  const env = { gateway: { ...traced, OTEL_TRACES_SAMPLER_ARG: '1' }, settlement: traced, paymaster: traced }
  stack = await startStack({ env })
  shop = await openShop(stack, 'traced')
  budget = await giveBudget(stack, shop)

  const { agentGrant: grant, sessionPrivateKey: sessionKey } = budget
  const pay = createPayingFetch({ grant, sessionKey })
  const traceparent = `00-${traceId}-${callerSpanId}-00`
  const response = await pay(`${shop.url}/paris`, { headers: { traceparent } })
  expect(response.status).toBe(200)
  expect(response.headers.get('traceresponse')).toContain(traceId)
  const receipt = decodeHeader(response.headers.get('payment-response') ?? '', settleResponseSchema)
  if (!receipt.ok) throw new Error(receipt.reason)
  const extra = sessionReceiptSchema.parse(receipt.value.extra)
  expect(extra.traceId).toBe(traceId)
  requestId = extra.requestId
  const books = await settleAll(stack, shop, budget, priceAtomic)
  expect(books).toMatchObject({ charged: priceAtomic, settled: priceAtomic, received: priceAtomic })
  // The mirror may know of the payment before the worker has seen it.
  const isIncluded = async () => expect((await settlementOf(traceId)).state).toMatch(/^(included|confirmed)$/)
  await vi.waitFor(isIncluded, { timeout: 120_000, interval: 500 })
}, timeout)
afterAll(async () => {
  await shop?.stop()
  await stack?.stop()
  await receiver?.stop()
}, 240_000)

type Trace = {
  charges: { requestId: string; traceId: string; journalledAt: string; settlementIds: string[] }[]
  settlements: {
    id: string
    traceId: string
    state: string
    userOpHash: `0x${string}`
    txHash: `0x${string}`
    transitions: { at: string; to: string }[]
    sponsorships: { userOpHash: string }[]
  }[]
}

async function pbTrace(name: string): Promise<Trace> {
  const { code, stdout, stderr } = await runPb(['trace', name, '--json'], pbEnv())
  if (code !== 0) throw new Error(`pb trace ${name} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout)
}

function pbEnv() {
  return { PB_URL: stack.gateway.url, PB_KEY: stack.operatorApiKey }
}

async function settlementOf(name: string) {
  const [settlement] = (await pbTrace(name)).settlements
  if (!settlement) throw new Error(`${name} is in no settlement`)
  return settlement
}

test(
  '`pb trace` leads from the header of a request to the hash of the transaction that paid for it, and back',
  async () => {
    const trace = await pbTrace(traceId)
    const settlement = await settlementOf(traceId)
    expect(trace.charges).toMatchObject([{ requestId, traceId, settlementIds: [settlement.id] }])
    expect(settlement).toMatchObject({ state: expect.stringMatching(/^(included|confirmed)$/) })
    expect(settlement.sponsorships.map(({ userOpHash }) => userOpHash)).toContain(settlement.userOpHash)
    const receipt = await stack.clients.publicClient.getTransactionReceipt({ hash: settlement.txHash })
    expect(receipt.logs.some(({ topics }) => topics.some((topic) => topic === settlement.userOpHash))).toBe(true)
    for (const name of [requestId, settlement.id, settlement.traceId, settlement.userOpHash, settlement.txHash]) {
      expect((await settlementOf(name)).id).toBe(settlement.id)
    }

    const { stdout } = await runPb(['trace', requestId], pbEnv())
    for (const part of [traceId, settlement.id, settlement.userOpHash, settlement.txHash])
      expect(stdout).toContain(part)
    const unknown = await runPb(['trace', 'nobody-made-this-request'], pbEnv())
    expect({ code: unknown.code, stderr: unknown.stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('trace.unknown'),
    })
    const merchant = await runPb(['trace', traceId], { ...pbEnv(), PB_KEY: shop.apiKey })
    expect(merchant).toMatchObject({ code: 2, stderr: expect.stringContaining('operator.required') })
  },
  timeout,
)

test(
  'the logs say the same: gateway → trace id → settlement → operation → paymaster → transaction',
  async () => {
    const settlement = await settlementOf(traceId)
    const [gateway, worker, paymaster] = await Promise.all(['gateway', 'settlement', 'paymaster'].map(readLog))

    const call = find(gateway, 'paid call', { traceId, outcome: 'served' })
    expect(call).toMatchObject({
      requestId,
      outcome: 'served',
      grantId: budget.grantId,
      amountAtomic: `${priceAtomic}`,
    })
    const claimed = worker?.find(({ msg, charges }) => msg === 'claimed' && JSON.stringify(charges).includes(traceId))
    expect(claimed).toMatchObject({ settlement: settlement.id, traceId: settlement.traceId })
    const ofTrace = { traceId: settlement.traceId }
    expect(find(worker, 'submitted', ofTrace)).toMatchObject({
      settlement: settlement.id,
      userOpHash: settlement.userOpHash,
    })
    expect(find(paymaster, 'gas asked for', ofTrace)).toMatchObject({
      outcome: 'reserved',
      userOpHash: settlement.userOpHash,
    })
    await expect
      .poll(async () => find(await readLog('settlement'), 'confirmed', ofTrace), soon)
      .toMatchObject({ settlement: settlement.id, userOpHash: settlement.userOpHash, txHash: settlement.txHash })
  },
  timeout,
)

test(
  'the spans say the same, each below the one that it is a part of',
  async () => {
    const settlement = await settlementOf(traceId)
    const rootId = settlement.traceId.slice(16)
    // Each process sends its spans when it has some together.
    const missing = (inTrace: string, names: string[]) => names.filter((name) => !named(inTrace, name))
    const parts = ['estimate', 'sponsor', 'send', 'inclusion']
    await expect.poll(() => missing(settlement.traceId, ['settlement', 'reserve', ...parts]), soon).toEqual([])
    await expect.poll(() => missing(traceId, ['charge', 'serve', 'journal']), soon).toEqual([])

    const paidRequest = () =>
      receiver.spans.find((span) => span.traceId === traceId && span.attributes['http.response.status_code'] === 200)
    await expect.poll(paidRequest, soon).toBeDefined()
    const request = paidRequest()
    expect(request).toMatchObject({ service: 'protocol-banks-gateway', name: 'request', parentSpanId: callerSpanId })
    for (const name of ['charge', 'serve', 'journal']) {
      const part = receiver.spans.find((span) => span.parentSpanId === request?.spanId && span.name === name)
      expect(part).toMatchObject({ traceId, failure: undefined })
    }

    const whole = named(settlement.traceId, 'settlement')
    expect(whole).toMatchObject({ spanId: rootId, parentSpanId: undefined, links: [traceId] })
    expect(whole?.attributes).toMatchObject({ 'stream.transaction.hash': settlement.txHash })
    const looks = () => receiver.spans.filter((span) => span.traceId === settlement.traceId && span.name === 'settle')
    const parents = parts.map((name) => named(settlement.traceId, name)?.parentSpanId)
    await expect.poll(() => looks().map(({ spanId }) => spanId), soon).toEqual(expect.arrayContaining(parents))
    expect(looks().every(({ parentSpanId }) => parentSpanId === rootId)).toBe(true)
    const sponsor = named(settlement.traceId, 'sponsor')
    const sponsoredRequest = () => receiver.spans.find(({ parentSpanId }) => parentSpanId === sponsor?.spanId)
    await expect.poll(sponsoredRequest, soon).toBeDefined()
    const sponsored = sponsoredRequest()
    expect(sponsored).toMatchObject({
      service: 'protocol-banks-paymaster',
      name: 'request',
      traceId: settlement.traceId,
    })
    expect(named(settlement.traceId, 'reserve')).toMatchObject({ parentSpanId: sponsored?.spanId })
  },
  timeout,
)

test('no log shows a key or a password', async () => {
  const texts = await Promise.all(['gateway', 'settlement', 'paymaster'].map((name) => readFile(logOf(name), 'utf8')))
  const { settler, paymasterSigner } = devAccounts
  for (const secret of [stack.operatorApiKey, stack.databaseUrl, settler.privateKey, paymasterSigner.privateKey]) {
    for (const text of texts) expect(text).not.toContain(secret)
  }
})

type Line = { msg?: string; [field: string]: unknown }

function logOf(name: string): string {
  return join(stack.logDirectory, `${name}.log`)
}

async function readLog(name: string): Promise<Line[]> {
  const lines = (await readFile(logOf(name), 'utf8')).split('\n')
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
}

function find(lines: Line[] | undefined, msg: string, fields: Record<string, string>): Line | undefined {
  return lines?.find(
    (line) => line.msg === msg && Object.entries(fields).every(([name, value]) => line[name] === value),
  )
}

/** The span of this name in a trace. */
function named(inTrace: string, name: string): ReceivedSpan | undefined {
  return receiver.spans.find((span) => span.traceId === inTrace && span.name === name)
}
