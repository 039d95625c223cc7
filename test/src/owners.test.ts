import {
  freezeCall,
  toDelegatedSmartAccount,
  toSafe7579SmartAccount,
  toStreamSmartAccount,
} from '@protocolbanks/stream-bundler-client'
import { createChainClients, devAccounts, type Stack, startStack } from '@protocolbanks/stream-dev'
import { createPayingFetch, PaymentRefusedError } from '@protocolbanks/stream-sdk'
import type { Address, Hex } from 'viem'
import type { SmartAccount } from 'viem/account-abstraction'
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { runDocumentSample } from './testing/runDocumentSample.ts'
import { settleAll } from './testing/settleAll.ts'
import { startWebhookReceiver, type WebhookReceiver } from './testing/webhookReceiver.ts'

// Owners sign in with real accounts of every kind, as docs/owners.md tells them to, and see and stop what is theirs.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 100 }

type Signer = { address: Address; signMessage(of: { message: string }): Promise<Hex> }
type SignIn = (gateway: string, origin: string, account: Signer) => Promise<{ token: string; expiresAt: string }>

let stack: Stack
let signIn: (account: Signer) => Promise<string>
beforeAll(async () => {
  stack = await startStack({ withSafes: true, env: { gateway: { OWNER_SIGN_INS_PER_MINUTE: '1000' } } })
  const sample = await runDocumentSample<{ signIn: SignIn }>('docs/owners.md')
  signIn = async (account) => (await sample.signIn(stack.gateway.url, new URL(stack.gateway.url).origin, account)).token
}, 240_000)
afterAll(() => stack?.stop(), 240_000)

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** A JSON answer. Its shape is what the tests are about. */
// biome-ignore lint/suspicious/noExplicitAny: a test looks into it
type Answer = { status: number; body: any }

async function ask(token: string, request: `${'GET' | 'POST' | 'PATCH' | 'DELETE'} /${string}`, json?: unknown) {
  const [method = '', path = ''] = request.split(' ')
  const response = await fetch(`${stack.gateway.url}/api${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    signal: AbortSignal.timeout(60_000),
  })
  const text = await response.text()
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) } as Answer
}

const newKey = () => privateKeyToAccount(generatePrivateKey())

function createStreamAccount(owner: PrivateKeyAccount, salt?: Hex): Promise<SmartAccount> {
  const { publicClient: client } = stack.clients
  return toStreamSmartAccount({ client, owner, salt, factory: stack.contracts.streamAccountFactory })
}

function createSafe(owners: readonly PrivateKeyAccount[], threshold: number): Promise<SmartAccount> {
  if (!stack.safes) throw new Error('The stack has no Safes.')
  const { publicClient: client } = stack.clients
  const id = { owners: owners.map(({ address }) => address), threshold, saltNonce: 0n }
  return toSafe7579SmartAccount({ client, contracts: stack.safes.contracts, id, signers: owners })
}

/** By its factory, paid by somebody else. */
async function deploy(account: SmartAccount): Promise<void> {
  const { factory, factoryData } = await account.getFactoryArgs()
  if (!factory || !factoryData) throw new Error('The account has no factory.')
  const { walletClient, publicClient } = stack.clients
  const hash = await walletClient.sendTransaction({ to: factory, data: factoryData })
  expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
  expect(await publicClient.getCode({ address: account.address })).toBeDefined()
}

/** Names one account, and has another one sign. */
function signedBy(other: Signer, { address }: Signer): Signer {
  return { address, signMessage: (of) => other.signMessage(of) }
}

async function isSignedIn(account: Signer): Promise<void> {
  const token = await signIn(account)
  expect(token).toMatch(/^pbo_/)
  expect(await ask(token, 'GET /owner/session')).toMatchObject({ status: 200, body: { account: account.address } })
}

describe('signs in, and nobody else does for it:', { timeout }, () => {
  const kinds: [string, (owner: PrivateKeyAccount) => Promise<SmartAccount>][] = [
    ['StreamAccount', (owner) => createStreamAccount(owner)],
    ['Safe7579 with one owner', (owner) => createSafe([owner], 1)],
    ['Safe7579 with two of three owners', (owner) => createSafe([owner, newKey(), newKey()], 2)],
  ]
  test.each(kinds)('%s, before and after it is deployed', async (_, create) => {
    const account = await create(newKey())
    const stranger = await create(newKey())
    const forged = signedBy(stranger, account)
    await isSignedIn(account)
    await expect(signIn(forged)).rejects.toThrow('owner.signature_invalid')
    await deploy(account)
    await deploy(stranger)
    await isSignedIn(account)
    await expect(signIn(forged)).rejects.toThrow('owner.signature_invalid')
  })

  test('a StreamAccount, but not by what its owner signed for another account of theirs, or as an EOA', async () => {
    const owner = newKey()
    const account = await createStreamAccount(owner)
    const sister = await createStreamAccount(owner, `0x${'00'.repeat(31)}01`)
    for (const one of [account, sister]) await deploy(one)
    await isSignedIn(account)
    for (const other of [sister, owner]) {
      await expect(signIn(signedBy(other, account))).rejects.toThrow('owner.signature_invalid')
    }
  })

  test('a Safe, but not by fewer owners than it asks for', async () => {
    const owners = [newKey(), newKey()]
    const account = await createSafe(owners, 2)
    await deploy(account)
    // The validator's address and one of the two signatures.
    const signMessage = async (of: { message: string }) => (await account.signMessage(of)).slice(0, -130) as Hex
    await expect(signIn({ address: account.address, signMessage })).rejects.toThrow('owner.signature_invalid')
  })

  test('an EOA, and the same EOA once it delegates to StreamAccount7702', async () => {
    const eoa = newKey()
    const forged = signedBy(newKey(), eoa)
    const { publicClient: client, walletClient } = stack.clients
    const implementation = stack.contracts.streamAccount7702Implementation
    const account = await toDelegatedSmartAccount({ client, owner: eoa, implementation })
    for (const one of [eoa, account]) await isSignedIn(one)
    await expect(signIn(forged)).rejects.toThrow('owner.signature_invalid')

    const authorization = await account.signDelegation()
    if (!authorization) throw new Error('The EOA delegates already.')
    const hash = await walletClient.sendTransaction({ to: eoa.address, authorizationList: [authorization] })
    expect((await client.waitForTransactionReceipt({ hash })).status).toBe('success')
    expect(await account.isDeployed()).toBe(true)
    for (const one of [eoa, account]) await isSignedIn(one)
    await expect(signIn(forged)).rejects.toThrow('owner.signature_invalid')
  })
})

describe('with their session', { timeout }, () => {
  let shops = 0
  async function arrange(): Promise<{ shop: Shop; budget: Budget; token: string; agent: typeof fetch }> {
    const shop = await openShop(stack, `owned-${++shops}`)
    closers.push(shop.stop)
    const budget = await giveBudget(stack, shop)
    const agent = createPayingFetch({ grant: budget.agentGrant, sessionKey: budget.sessionPrivateKey })
    return { shop, budget, agent, token: await signIn(budget.account) }
  }

  test('an owner sees the grants and charges of their account, and nobody else does', async () => {
    const mine = await arrange()
    const other = await arrange()
    const { grantId, account } = mine.budget
    for (const { agent, shop } of [mine, other]) expect((await agent(`${shop.url}/x`)).status).toBe(200)
    const charges = async () => (await ask(mine.token, 'GET /owner/charges')).body.charges
    await expect.poll(async () => (await charges()).length, soon).toBe(1)
    expect(await charges()).toMatchObject([{ grantId, payee: mine.shop.payee, amountAtomic: `${priceAtomic}` }])

    const { body } = await ask(mine.token, 'GET /owner/grants')
    expect(body.grants).toMatchObject([{ grantId, account: account.address, status: 'active', ownerFreeze: null }])
    const one = await ask(mine.token, `GET /owner/grants/${grantId}`)
    const channels = [{ payee: mine.shop.payee, chargedAtomic: `${priceAtomic}`, settledAtomic: '0' }]
    expect(one).toMatchObject({ status: 200, body: { grantId, channels } })

    const theirs = other.budget.grantId
    const refused = { status: 404, body: { code: 'grant.unknown' } }
    expect(await ask(mine.token, `GET /owner/grants/${theirs}`)).toMatchObject(refused)
    expect(await ask(mine.token, `POST /owner/grants/${theirs}/freeze`)).toMatchObject(refused)
    expect((await ask(mine.token, `GET /owner/charges?grantId=${theirs}`)).body.charges).toEqual([])
    expect((await other.agent(`${other.shop.url}/x`)).status).toBe(200)
    for (const path of ['GET /merchants', 'GET /session-keys', 'GET /audit'] as const) {
      expect(await ask(mine.token, path)).toMatchObject({ status: 401, body: { code: 'api_key.invalid' } })
    }
    expect(await ask(mine.token, 'DELETE /owners/session')).toMatchObject({ status: 204 })
    expect(await ask(mine.token, 'GET /owner/grants')).toMatchObject({
      status: 401,
      body: { code: 'owner.session_invalid' },
    })
  })

  test('an owner stops their agent before its next call, and lets it go on; what the chain froze stays frozen', async () => {
    const { token, agent, shop, budget } = await arrange()
    const { grantId, account } = budget
    expect((await agent(`${shop.url}/1`)).status).toBe(200)
    const frozen = await ask(token, `POST /owner/grants/${grantId}/freeze`, { reason: 'It buys too much.' })
    expect(frozen).toMatchObject({
      status: 200,
      body: {
        status: 'frozen',
        onChainStatus: 'active',
        note: 'Frozen off-chain by its owner.',
        ownerFreeze: { reason: 'It buys too much.' },
      },
    })
    expect(await codeOf(agent(`${shop.url}/2`))).toBe('grant.frozen')
    expect(shop.calls).toHaveLength(1)
    expect((await ask(token, `POST /owner/grants/${grantId}/unfreeze`)).body).toMatchObject({ status: 'active' })
    expect((await agent(`${shop.url}/3`)).status).toBe(200)

    await byGuardian(account.address, grantId)
    const status = async () => (await ask(token, `GET /owner/grants/${grantId}`)).body.onChainStatus
    await expect.poll(status, soon).toBe('frozen')
    expect((await ask(token, `POST /owner/grants/${grantId}/unfreeze`)).body).toMatchObject({ status: 'frozen' })
    expect(await codeOf(agent(`${shop.url}/4`))).toBe('grant.frozen')
    const { body } = await ask(stack.operatorApiKey, `GET /audit?subject=${grantId}`)
    expect(body.entries).toMatchObject([
      { action: 'owner_unfreeze', actor: `owner:${account.address.toLowerCase()}`, outcome: 'done' },
      { action: 'owner_freeze', outcome: 'done', note: 'It buys too much.' },
    ])
  })

  test('an owner is told what happens to their account, each event once, and of no other account', async () => {
    const { token, agent, shop, budget } = await arrange()
    const other = await arrange()
    const receiver = await openReceiver(token)
    const others = await openReceiver(other.token)
    const { grantId, account } = budget
    for (let call = 0; call < 2; call++) expect((await agent(`${shop.url}/${call}`)).status).toBe(200)
    const paid = 2n * priceAtomic
    expect(await settleAll(stack, shop, budget, paid)).toMatchObject({ settled: paid, received: paid })
    await ask(token, `POST /owner/grants/${grantId}/freeze`)
    await ask(token, `POST /owner/grants/${grantId}/unfreeze`)
    await byGuardian(account.address, grantId)
    const second = await giveBudget(stack, shop, { owner: budget })

    const of = (type: string) => receiver.received.filter(({ payload }) => payload.type === type)
    for (const [type, count] of [
      ['settlement.confirmed', 1],
      ['grant.frozen', 2],
      ['grant.unfrozen', 1],
      ['grant.created', 1],
    ] as const) {
      await expect.poll(() => of(type).length, { ...soon, message: type }).toBeGreaterThanOrEqual(count)
    }
    const moved = of('settlement.confirmed').map(({ payload }) => BigInt(String(payload.data.paidAtomic)))
    expect(moved.reduce((sum, amount) => sum + amount, 0n)).toBe(paid)
    expect(of('settlement.confirmed').at(-1)?.payload.data).toMatchObject({
      grantId,
      account: account.address,
      payments: [{ payee: shop.payee, skippedReason: null }],
    })
    const stops = receiver.received.filter(({ payload }) => /frozen$/.test(payload.type))
    expect(stops.map(({ payload: { type, data } }) => [type, data.by, data.status]).toSorted()).toEqual([
      ['grant.frozen', 'chain', 'frozen'],
      ['grant.frozen', 'owner', 'frozen'],
      ['grant.unfrozen', 'owner', 'active'],
    ])
    expect(of('grant.created').map(({ payload }) => payload.data)).toMatchObject([{ grantId: second.grantId }])
    expect(new Set(receiver.received.map(({ id }) => id)).size).toBe(receiver.received.length)
    expect([receiver.refused, others.received, others.refused]).toEqual([[], [], []])
  })

  async function openReceiver(token: string): Promise<WebhookReceiver> {
    const receiver = await startWebhookReceiver()
    closers.push(receiver.close)
    const { status, body } = await ask(token, 'POST /owner/webhooks', { url: receiver.url })
    expect(status).toBe(201)
    receiver.secret = body.secret
    return receiver
  }
})

/** The code with which the gateway refused a paid call. */
async function codeOf(call: Promise<Response>): Promise<string> {
  const refused = await call.then(
    ({ status }) => `was served: ${status}`,
    (error: unknown) => error,
  )
  if (refused instanceof PaymentRefusedError) return refused.code
  throw new Error(`The call ended with ${String(refused)}`)
}

async function byGuardian(account: Address, grantId: Hex): Promise<void> {
  const { walletClient, publicClient } = createChainClients(stack.chain.url, devAccounts.guardian.account)
  const call = freezeCall({ module: stack.contracts.sessionKeyValidator, account, grantId })
  const hash = await walletClient.sendTransaction(call)
  expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
}
