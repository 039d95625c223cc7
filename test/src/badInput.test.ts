import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createSiweMessage } from 'viem/siwe'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { runDocumentSample } from './testing/runDocumentSample.ts'
import { runPb } from './testing/runPb.ts'
import { readBooks } from './testing/settleAll.ts'
import { tableChecksums } from './testing/tableChecksums.ts'

// What somebody asks for who may not: refused with a clear error, nothing changed in any table, and written down.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 200 }

let stack: Stack
let login: ReturnType<typeof connectAsLogin>
let shop: Shop
let stranger: Shop
let budget: Budget
let others: Budget
/** Of the owner of `others`. */
let session: string
const closers: (() => Promise<void>)[] = []

beforeAll(async () => {
  // As in production: webhooks go to the public internet alone.
  stack = await startStack({ env: { gateway: { WEBHOOK_ALLOW_PRIVATE_NETWORKS: 'false' } } })
  login = connectAsLogin(stack.databaseUrl)
  shop = await openShop(stack, 'shop')
  stranger = await openShop(stack, 'stranger')
  closers.push(shop.stop, stranger.stop)
  budget = await giveBudget(stack, shop)
  others = await giveBudget(stack, stranger)
  const agent = createPayingFetch({ grant: budget.agentGrant, sessionKey: budget.sessionPrivateKey })
  expect((await agent(`${shop.url}/x`)).status).toBe(200)
  await vi.waitFor(async () => expect((await readBooks(stack, shop, budget)).charged).toBe(priceAtomic), soon)
  type SignIn = (gateway: string, origin: string, account: Budget['account']) => Promise<{ token: string }>
  const { signIn } = await runDocumentSample<{ signIn: SignIn }>('docs/owners.md')
  session = (await signIn(stack.gateway.url, new URL(stack.gateway.url).origin, others.account)).token
  // The first reconciliation begins with the gateway; the next is an hour away.
  const ended = async () =>
    (
      await login.query<{ ended: boolean }>(`select bool_and(state in ('done', 'failed')) as ended from reconciliation`)
    )[0]
  await vi.waitFor(async () => expect(await ended()).toEqual({ ended: true }), soon)
}, 240_000)
afterAll(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  await login?.close()
  await stack?.stop()
}, 240_000)

type Entry = { actor: string; action: string; outcome: string; subject: string; errorCode: string | null }

/** Runs `ask`, and holds it to have changed nothing but the audit, where it left exactly these entries. */
async function refusedWith(entries: object[], ask: () => Promise<void>): Promise<void> {
  const newest = async () => (await login.query<{ id: string }>('select max(id) as id from audit_entry'))[0]?.id ?? ''
  const [from, before] = [await newest(), await tableChecksums(login)]
  await ask()
  expect(await tableChecksums(login)).toEqual(before)
  const written = await login.query<Entry>(
    `select actor, action, outcome, subject, error_code as "errorCode" from audit_entry where id > $1 order by id`,
    [from],
  )
  expect(written).toMatchObject(entries.map((entry) => ({ outcome: 'refused', ...entry })))
}

async function ask(key: string, request: `${'POST' | 'PATCH'} /${string}`, json: unknown) {
  const [method = '', path = ''] = request.split(' ')
  const response = await fetch(`${stack.gateway.url}/api${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(json),
    signal: AbortSignal.timeout(60_000),
  })
  return { status: response.status, type: response.headers.get('content-type'), body: await response.json() }
}

const aKey = expect.stringMatching(/^key_/)

test("a settlement of somebody else's grant", { timeout }, async () => {
  const { grantId } = budget
  const entry = { actor: aKey, action: 'settlement_request', subject: grantId, errorCode: 'grant.unknown' }
  await refusedWith([entry], async () => {
    expect(await ask(stranger.apiKey, 'POST /settlements', { grantId })).toMatchObject({
      status: 404,
      type: 'application/problem+json',
      body: { code: 'grant.unknown', title: 'No such grant is known to you.', detail: `Grant: ${grantId}` },
    })
  })
})

test("a freeze of somebody else's grant, by an owner", { timeout }, async () => {
  const { grantId } = budget
  const actor = `owner:${others.account.address.toLowerCase()}`
  for (const change of ['freeze', 'unfreeze']) {
    const entry = { actor, action: `owner_${change}`, subject: grantId, errorCode: 'grant.unknown' }
    await refusedWith([entry], async () => {
      const refused = await ask(session, `POST /owner/grants/${grantId}/${change}`, {})
      expect(refused).toMatchObject({ status: 404, body: { code: 'grant.unknown', detail: `Grant: ${grantId}` } })
    })
  }
})

describe('a webhook to', () => {
  test.each([
    ['this machine by name', 'https://localhost/hook'],
    ['this machine', 'https://127.0.0.1/hook'],
    ['this machine in hexadecimal', 'https://0x7f.1/hook'],
    ['this machine in IPv6', 'https://[::1]/hook'],
    ['this machine, mapped into IPv6', 'https://[::ffff:7f00:1]/hook'],
    ['this machine through NAT64', 'https://[64:ff9b::7f00:1]/hook'],
    ['a link-local address', 'https://[fe80::1]/hook'],
    ['the metadata of a cloud', 'https://169.254.169.254/latest/meta-data/'],
    ['a private network', 'https://10.0.0.1/hook'],
    ['a name that is none', 'https://hooks.invalid/hook'],
    ['an address without TLS', 'http://93.184.216.34/hook'],
    ['a URL with a password', 'https://user:secret@93.184.216.34/hook'],
  ])('%s', { timeout }, async (_, url) => {
    const problem = { status: 422, body: { code: 'webhook.url_refused', detail: expect.stringMatching(/^It/) } }
    const entry = { action: 'webhook_url', errorCode: 'webhook.url_refused' }
    const owner = others.account.address
    const entries = [
      { ...entry, actor: aKey, subject: expect.stringMatching(/^mer_/) },
      { ...entry, actor: `owner:${owner.toLowerCase()}`, subject: owner },
      { ...entry, actor: 'operator', subject: 'operator' },
    ]
    await refusedWith(entries, async () => {
      expect(await ask(shop.apiKey, 'POST /webhooks', { url })).toMatchObject(problem)
      expect(await ask(session, 'POST /owner/webhooks', { url })).toMatchObject(problem)
      expect(await ask(stack.operatorApiKey, 'POST /webhooks', { url })).toMatchObject(problem)
    })
  })

  test('a private network, by changing one that was allowed', { timeout }, async () => {
    const made = await ask(shop.apiKey, 'POST /webhooks', { url: 'https://93.184.216.34/hook' })
    expect(made.status).toBe(201)
    const { id } = made.body as { id: string }
    const entry = { actor: aKey, action: 'webhook_url', subject: id, errorCode: 'webhook.url_refused' }
    await refusedWith([entry], async () => {
      const refused = await ask(shop.apiKey, `PATCH /webhooks/${id}`, { url: 'https://192.168.0.1/' })
      expect(refused).toMatchObject({ status: 422, body: { code: 'webhook.url_refused' } })
    })
  })
})

describe('the command with', () => {
  const id = `stl_${'0'.repeat(32)}`
  const note = ['--note', 'Because I want to.']
  const calls: [string, string[], string][] = [
    ['settlements retry', ['settlements', 'retry', id, ...note], `POST /api/settlements/${id}/retry`],
    [
      'settlements write-off',
      ['settlements', 'write-off', id, '--reason', 'agreed', ...note],
      `POST /api/settlements/${id}/write-off`,
    ],
    ['reconcile', ['reconcile'], 'POST /api/reconciliations'],
    ['audit', ['audit'], 'GET /api/audit'],
  ]
  test.each(calls)('the key of a merchant, or of nobody: %s', { timeout }, async (_, args, subject) => {
    const nobody = `pb_${'x'.repeat(43)}`
    const entry = { action: 'api_request', subject }
    const entries = [
      { ...entry, actor: aKey, errorCode: 'operator.required' },
      { ...entry, actor: 'unknown', errorCode: 'api_key.invalid' },
      { ...entry, actor: 'unknown', errorCode: 'api_key.invalid' },
    ]
    await refusedWith(entries, async () => {
      for (const [key, code] of [
        [shop.apiKey, 'operator.required'],
        [nobody, 'api_key.invalid'],
        // A session of an owner is no API key.
        [session, 'api_key.invalid'],
      ] as const) {
        const refused = await runPb(args, { PB_URL: stack.gateway.url, PB_KEY: key })
        expect(refused).toMatchObject({ code: 2, stdout: '' })
        expect(refused.stderr).toContain(code)
        expect(refused.stderr).not.toContain(key)
      }
    })
  })
})

test("a sign-in to somebody else's account", { timeout }, async () => {
  const thief = privateKeyToAccount(generatePrivateKey())
  const address = budget.account.address
  const { nonce, statement, chainId } = (await ask('', 'POST /owners/nonce', {})).body as Record<string, string>
  const { host: domain, origin: uri } = new URL(stack.gateway.url)
  const about = { address, chainId: Number(chainId), domain, nonce: nonce ?? '', uri, version: '1' } as const
  const message = createSiweMessage({ ...about, statement })
  const signature = await thief.signMessage({ message })
  const entry = { actor: 'sign-in', action: 'owner_sign_in', subject: address, errorCode: 'owner.signature_invalid' }
  await refusedWith([entry], async () => {
    const refused = await ask('', 'POST /owners/session', { message, signature })
    expect(refused).toMatchObject({ status: 401, body: { code: 'owner.signature_invalid' } })
  })
})

// The last one: from here on things change.
test('what was refused to others is done for whose it is', { timeout }, async () => {
  const { grantId } = budget
  expect(await ask(session, `POST /owner/grants/${others.grantId}/freeze`, {})).toMatchObject({ status: 200 })
  expect(await ask(shop.apiKey, 'POST /settlements', { grantId })).toMatchObject({ status: 202 })
  await expect.poll(async () => (await readBooks(stack, shop, budget)).settled, soon).toBe(priceAtomic)
})
