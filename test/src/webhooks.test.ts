import { randomBytes } from 'node:crypto'
import {
  createChainClients,
  devAccounts,
  freePort,
  type Service,
  type Stack,
  startStack,
} from '@protocolbanks/stream-dev'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { settleAll } from './testing/settleAll.ts'
import { startGateway } from './testing/startGateway.ts'
import { startWebhookReceiver, type WebhookReceiver } from './testing/webhookReceiver.ts'

// Merchants are told by real gateways what happened on a real chain; the receiver verifies each signature.

const strictEnv = {
  WEBHOOK_ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
  // What was sent and not written down is sent again a little later than this.
  WEBHOOK_TIMEOUT_MS: '8000',
}
/** The receiver is on this machine. */
const env = { ...strictEnv, WEBHOOK_ALLOW_PRIVATE_NETWORKS: 'true' }
const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }

let stack: Stack
let again: Service | undefined
beforeAll(async () => {
  stack = await startStack({ env: { gateway: env } })
}, timeout)
afterAll(async () => {
  await again?.stop()
  await stack?.stop()
}, 240_000)

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

let shops = 0
type Arranged = { shop: Shop; receiver: WebhookReceiver; id: string }

/** A merchant with a receiver that knows its secret. */
async function arrange(events?: string[]): Promise<Arranged> {
  const shop = await openShop(stack, `shop-${++shops}`)
  closers.push(shop.stop)
  const receiver = await startWebhookReceiver()
  closers.push(receiver.close)
  const { status, body } = await manage<{ id: string; secret: string }>(stack, shop.apiKey, 'POST /webhooks', {
    url: receiver.url,
    ...(events && { events }),
  })
  expect(status).toBe(201)
  receiver.secret = body.secret
  return { shop, receiver, id: body.id }
}

async function sendTest({ shop, id }: Arranged): Promise<{ eventId: string; deliveryId: string }> {
  const { status, body } = await manage<{ eventId: string; deliveryId: string }>(
    stack,
    shop.apiKey,
    `POST /webhooks/${id}/test`,
  )
  expect(status).toBe(202)
  return body
}

type Delivery = {
  state: string
  attempts: number
  payload: unknown
  attemptLog: { statusCode: number | null; error: string | null }[]
}

async function deliveryOf({ shop, id }: Arranged, deliveryId: string): Promise<Delivery> {
  return (await manage<Delivery>(stack, shop.apiKey, `GET /webhooks/${id}/deliveries/${deliveryId}`)).body
}

test('what the chain paid, froze and what a merchant stopped is told once, as it happened', { timeout }, async () => {
  const { shop, receiver } = await arrange()
  const budget = await giveBudget(stack, shop)
  const { grantId, agentGrant, sessionPrivateKey, account, terms } = budget
  const agent = createPayingFetch({ grant: agentGrant, sessionKey: sessionPrivateKey })
  for (let call = 0; call < 3; call++) expect((await agent(`${shop.url}/${call}`)).status).toBe(200)
  const paid = 3n * priceAtomic
  await settleAll(stack, shop, budget, paid)
  const of = (type: string) => receiver.received.filter(({ payload }) => payload.type === type)
  await expect.poll(() => of('settlement.confirmed').length, soon).toBeGreaterThan(0)

  const confirmed = of('settlement.confirmed').map(({ payload }) => payload.data)
  expect(confirmed.reduce((sum, { paidAtomic }) => sum + BigInt(String(paidAtomic)), 0n)).toBe(paid)
  const last = confirmed.at(-1)
  expect(last).toMatchObject({
    grantId,
    account: account.address,
    payee: shop.payee,
    token: stack.contracts.testUsdc,
    amountAtomic: paid.toString(),
    skippedReason: null,
  })
  const receipt = await stack.clients.publicClient.getTransactionReceipt({ hash: last?.txHash as Hex })
  expect(receipt).toMatchObject({ status: 'success', blockNumber: BigInt(String(last?.blockNumber)) })

  const path = `/session-keys/${terms.sessionKey}` as const
  expect((await manage(stack, shop.apiKey, `POST ${path}/freeze`)).status).toBe(200)
  expect((await manage(stack, shop.apiKey, `POST ${path}/unfreeze`)).status).toBe(200)
  await expect.poll(() => of('grant.unfrozen').length, soon).toBe(1)
  await freezeOnChain(account.address, grantId)
  await expect.poll(() => of('grant.frozen').length, soon).toBe(2)
  const stops = receiver.received.filter(({ payload }) => payload.type.startsWith('grant.'))
  expect(stops.map(({ payload: { type, data } }) => [type, data.by, data.status, data.grantId]).toSorted()).toEqual([
    ['grant.frozen', 'chain', 'frozen', grantId],
    ['grant.frozen', 'merchant', 'frozen', grantId],
    ['grant.unfrozen', 'merchant', 'active', grantId],
  ])
  expect(new Set(receiver.received.map(({ id }) => id)).size).toBe(receiver.received.length)
  expect(receiver.refused).toEqual([])
})

test('a gateway that is killed between sending and writing that down sends again under the same id', {
  timeout,
}, async () => {
  const arranged = await arrange()
  const { receiver } = arranged
  let release = () => {}
  receiver.holdUntil(
    new Promise((resolve) => {
      release = resolve
    }),
  )
  const { eventId, deliveryId } = await sendTest(arranged)
  await expect.poll(() => receiver.received.length, soon).toBe(1)
  stack.gateway.process.signal('SIGKILL')
  await stack.gateway.process.exited
  release()
  again = await startGateway(stack, env)
  stack.gateway = again
  await expect.poll(async () => (await deliveryOf(arranged, deliveryId)).state, soon).toBe('delivered')
  expect(receiver.received.map(({ id }) => id)).toEqual([eventId, eventId])
  expect(receiver.received[0]?.payload).toEqual(receiver.received[1]?.payload)
  const delivery = await deliveryOf(arranged, deliveryId)
  expect(delivery).toMatchObject({ attempts: 2, attemptLog: [{ statusCode: 204 }] })
})

test('two gateways send each event once between them', { timeout }, async () => {
  const arranged = await arrange()
  const { receiver } = arranged
  const before = await deliveredBy(stack.gateway)
  const second = await startSecondGateway()
  closers.push(second.stop)
  const sent = await Promise.all(Array.from({ length: 40 }, () => sendTest(arranged)))
  await expect.poll(() => receiver.received.length, soon).toBeGreaterThanOrEqual(40)
  await expect
    .poll(async () => (await deliveredBy(stack.gateway)) - before + (await deliveredBy(second)), soon)
    .toBe(40)
  expect(receiver.received.map(({ id }) => id).toSorted()).toEqual(sent.map(({ eventId }) => eventId).toSorted())
})

test('a gateway that is not for development sends nothing into a private network', { timeout }, async () => {
  const arranged = await arrange()
  const { shop, receiver } = arranged
  await stack.gateway.stop()
  again = await startGateway(stack, strictEnv)
  stack.gateway = again
  for (const url of [receiver.url, receiver.url.replace('http:', 'https:'), 'https://0x7f000001/', 'https://[::1]/']) {
    const { status, body } = await manage(stack, shop.apiKey, 'POST /webhooks', { url })
    expect([status, body.code]).toEqual([422, 'webhook.url_refused'])
  }
  // Registered when it was allowed.
  const { deliveryId } = await sendTest(arranged)
  await expect.poll(async () => (await deliveryOf(arranged, deliveryId)).state, soon).toBe('failed')
  expect((await deliveryOf(arranged, deliveryId)).attemptLog).toMatchObject([
    { statusCode: null, error: expect.stringContaining('The URL is not allowed.') },
  ])
  expect(receiver.received).toEqual([])
})

async function deliveredBy({ url }: Service): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return Number(/^gateway_webhook_attempts_total\{outcome="delivered"\} (\d+)$/m.exec(metrics)?.[1] ?? 0)
}

/** Beside the stack's, on the same database and Redis. */
async function startSecondGateway(): Promise<Service> {
  const url = `http://127.0.0.1:${await freePort()}`
  return startGateway({ ...stack, gateway: { ...stack.gateway, url } }, env)
}

async function freezeOnChain(account: Address, grantId: Hex): Promise<void> {
  const { walletClient, publicClient } = createChainClients(stack.chain.url, devAccounts.guardian.account)
  const hash = await walletClient.writeContract({
    address: stack.contracts.sessionKeyValidator,
    abi: sessionKeyValidatorAbi,
    functionName: 'freeze',
    args: [account, grantId],
  })
  expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
}
