import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { encodeHeader, receiptKeysPath } from '@protocolbanks/stream-protocol'
import {
  createPayingFetch,
  type PayingFetch,
  parseReceiptKeys,
  type ReceiptKey,
  verifyReceipt,
} from '@protocolbanks/stream-sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'

// What a payer has in hand after a paid call: a receipt that anybody can verify, and that is found again.

let stack: Stack
let shop: Shop
let budget: Budget
let keys: ReceiptKey[]

beforeAll(async () => {
  stack = await startStack()
  shop = await openShop(stack, 'receipted')
  budget = await giveBudget(stack, shop)
  keys = parseReceiptKeys(await (await fetch(stack.gateway.url + receiptKeysPath)).json())
}, 240_000)
afterAll(async () => {
  await shop?.stop()
  await stack?.stop()
}, 240_000)

function agent(): PayingFetch {
  const { agentGrant: grant, sessionPrivateKey: sessionKey } = budget
  return createPayingFetch({ grant, sessionKey, receiptKeys: keys })
}

type Found = {
  receipts: { amountAtomic: string; settlement: { state: string; last: unknown }; header: string; receipt: object }[]
}

test('the gateway publishes its key, and every paid answer is signed with it', async () => {
  expect(keys).toHaveLength(1)
  const payingFetch = agent()
  for (let calls = 0; calls < 3; calls++) {
    const answer = await payingFetch(`${shop.url}/a`)
    expect(await verifyReceipt(answer.headers.get('payment-response') ?? '', keys)).toMatchObject({
      ok: true,
      keyId: keys[0]?.kid,
      receipt: { amount: `${priceAtomic}`, payer: budget.account.address, extra: { payee: shop.payee } },
    })
  }
}, 120_000)

test('a receipt is found again by its request id, signed anew, until it names the transaction that paid it', async () => {
  const payingFetch = agent()
  await payingFetch(`${shop.url}/b`)
  const [{ paymentResponse, requestId } = { paymentResponse: undefined, requestId: '' }] = payingFetch.receipts()
  const find = () => manage<Found>(stack, shop.apiKey, `GET /receipts/${requestId}`)
  await expect.poll(async () => (await find()).status, { timeout: 120_000 }).toBe(200)
  const [found] = (await find()).body.receipts
  expect(await verifyReceipt(found?.header ?? '', keys)).toMatchObject({ ok: true, receipt: found?.receipt })
  // The same charge at the same moment: only the signature is another.
  const { signature: _, ...extra } = paymentResponse?.extra ?? {}
  expect(found?.receipt).toMatchObject({ ...paymentResponse, extra })

  const { live } = await readBooks(stack, shop, budget)
  await settleAll(stack, shop, budget, live)
  await expect
    .poll(async () => (await find()).body.receipts[0]?.settlement, { timeout: 120_000 })
    .toMatchObject({
      state: 'settled',
      last: { state: 'confirmed', txHash: expect.stringMatching(/^0x[0-9a-f]{64}$/) },
    })
}, 480_000)

test('an agent takes no receipt that somebody changed on the way, and keeps what it said', async () => {
  const { agentGrant: grant, sessionPrivateKey: sessionKey } = budget
  const payingFetch = createPayingFetch({
    grant,
    sessionKey,
    async fetch(input, init) {
      const response = await fetch(input, init)
      const header = response.headers.get('payment-response')
      if (header === null) return response
      const receipt = JSON.parse(atob(header))
      const headers = new Headers(response.headers)
      headers.set('payment-response', encodeHeader({ ...receipt, payer: grant.token }))
      return new Response(response.body, { status: response.status, headers })
    },
  })
  await expect(payingFetch(`${shop.url}/c`)).rejects.toMatchObject({ code: 'receipt.forged' })
  expect(payingFetch.receipts()[0]?.paymentResponse.payer).toBe(grant.token)
}, 120_000)

test("a merchant's server charges with a key that may do nothing else, and with no other", async () => {
  const issue = (scopes: string[]) =>
    manage<{ key: string }>(stack, shop.apiKey, 'POST /api-keys', { name: 'server', scopes })
  const charge = async (key: string) => {
    const body = { service: 'receipted', method: 'GET', url: 'https://shop.example/x', paymentSignature: null }
    const response = await fetch(`${stack.gateway.url}/api/charges`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as { code?: string; outcome?: string } }
  }
  const [charging, reading] = [await issue(['charges:write']), await issue(['receipts:read'])]
  expect(await charge(charging.body.key)).toMatchObject({ status: 200, body: { outcome: 'answer' } })
  expect(await charge(reading.body.key)).toMatchObject({ status: 403, body: { code: 'api_key.scope_missing' } })
  expect(await manage(stack, charging.body.key, 'GET /receipts')).toMatchObject({ status: 403 })
  const facilitated = await fetch(`${stack.gateway.url}/facilitator/verify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${reading.body.key}`, 'content-type': 'application/json' },
    body: '{}',
  })
  expect(facilitated.status).toBe(403)
}, 120_000)
