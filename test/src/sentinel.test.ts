import { unfreezeCall } from '@protocolbanks/stream-bundler-client'
import { createDb, listIncidents, listOpenStops, listSentinelEvents } from '@protocolbanks/stream-db'
import { devAccounts, type Service, type Stack, startService, startStack } from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, type Shop } from './testing/openShop.ts'

// The sentinel as a process of its own, beside all other services on a real chain.

const timeout = 120_000
const soon = { timeout: 30_000, interval: 50 }
/** More calls in a minute than this freeze a grant here, from its first minute on. */
const mostCalls = 20
const eager = { MAX_CALLS_PER_MINUTE: `${mostCalls}`, WARM_UP_SECONDS: '0' }

let stack: Stack
let db: ReturnType<typeof createDb>
let shop: Shop
beforeAll(async () => {
  stack = await startStack({
    withSentinel: true,
    env: { sentinel: eager },
  })
  db = createDb({ url: stack.databaseUrl, maxConnections: 2, onError: () => {} })
  shop = await openShop(stack, 'weather')
}, timeout)
afterAll(async () => {
  await shop?.stop()
  await db?.close()
  await stack?.stop()
}, 60_000)

test('a key that runs away is refused within its next calls, frozen on the chain by the guardian, and only its owner lets it go on', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = payingFetch(budget)
  const { served, refusal } = await callUntilRefused(pay)
  expect(refusal).toBe('grant.frozen')
  expect(served).toBeGreaterThanOrEqual(mostCalls)

  // The chain follows, and the record names what was done and why.
  await expect.poll(() => statusOf(budget), soon).toBe(frozenOnChain)
  await expect
    .poll(async () => (await eventsOf(budget)).map(({ kind }) => kind), soon)
    .toEqual(['freeze', 'freeze_refused', 'freeze_confirmed'])
  const [found, , confirmed] = await eventsOf(budget)
  expect(found).toMatchObject({ rule: 'calls.per_minute', detail: { inputs: { calls: `${mostCalls + 1}` } } })
  expect(found?.detail.explanation).toBe(`It made ${mostCalls + 1} calls within a minute.`)
  const hash = confirmed?.detail.txHash as Hex
  const receipt = await stack.clients.publicClient.getTransactionReceipt({ hash })
  expect(receipt).toMatchObject({ status: 'success', from: devAccounts.guardian.address.toLowerCase() })
  const { items } = await listIncidents(db, { grantId: budget.grantId })
  expect(items).toMatchObject([{ rule: 'calls.per_minute', action: 'freeze', state: 'open' }])

  // Neither side alone is enough: the operator lifts the gateways' freeze, and the owner signs.
  const path = `/session-keys/${budget.terms.sessionKey}/unfreeze?grantId=${budget.grantId}` as const
  expect(await manage(stack, stack.operatorApiKey, `POST ${path}`, {})).toMatchObject({ status: 200 })
  expect((await pay(shop.url).catch(codeOf)) as unknown).toBe('grant.frozen')
  const module = stack.contracts.sessionKeyValidator
  const operation = await budget.bundlerClient.sendUserOperation({
    account: budget.account,
    calls: [unfreezeCall({ module, grantId: budget.grantId })],
  })
  await budget.bundlerClient.waitForUserOperationReceipt({ hash: operation, timeout: 20_000 })
  await expect.poll(async () => (await pay(shop.url).catch(codeOf)) instanceof Response, soon).toBe(true)
})

test('two sentinels find the same, and one freeze is made', { timeout }, async () => {
  const second = await startSentinel('sentinel-2')
  try {
    const budget = await giveBudget(stack, shop)
    await callUntilRefused(payingFetch(budget))
    await expect.poll(() => statusOf(budget), soon).toBe(frozenOnChain)
    await expect.poll(async () => (await listOpenStops(db, 10)).length, soon).toBe(0)
    const kinds = (await eventsOf(budget)).map(({ kind }) => kind)
    expect(kinds.toSorted()).toEqual(['freeze', 'freeze_confirmed', 'freeze_refused'])
  } finally {
    await second.stop()
  }
})

test('what runs away while the sentinel is gone is frozen when it is back', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = payingFetch(budget)
  await stack.sentinel?.stop()
  for (let call = 0; call < 2 * mostCalls; call++) expect((await pay(shop.url)).status).toBe(200)
  const again = await startSentinel('sentinel-3')
  try {
    await expect.poll(() => statusOf(budget), soon).toBe(frozenOnChain)
    expect((await pay(shop.url).catch(codeOf)) as unknown).toBe('grant.frozen')
  } finally {
    await again.stop()
  }
})

const frozenOnChain = 2

/** Another one, like the stack's own. */
function startSentinel(label: string): Promise<Service> {
  return startService('sentinel', {
    label,
    logDirectory: stack.logDirectory,
    env: {
      ...eager,
      DATABASE_URL: stack.databaseUrl,
      RPC_URL: stack.chain.url,
      CHAIN_ID: `${stack.chain.chainId}`,
      SESSION_MODULE: stack.contracts.sessionKeyValidator,
      GATEWAY_URLS: stack.gateway.url,
      GATEWAY_API_KEY: stack.operatorApiKey,
      GUARDIAN_KEY: devAccounts.guardian.privateKey,
      POLL_MS: '250',
    },
  })
}

async function statusOf({ account, grantId }: Budget): Promise<number> {
  const [status] = await stack.clients.publicClient.readContract({
    address: stack.contracts.sessionKeyValidator,
    abi: sessionKeyValidatorAbi,
    functionName: 'grantState',
    args: [account.address, grantId],
  })
  return status
}

/** Oldest first. */
async function eventsOf({ grantId }: Budget) {
  return (await listSentinelEvents(db, { grantId })).items.toReversed()
}

function payingFetch({ agentGrant, sessionPrivateKey }: Budget): typeof fetch {
  return createPayingFetch({ sessionKey: sessionPrivateKey, grant: agentGrant })
}

/** Calls as fast as it can, and says how often it was served and why not any more. */
async function callUntilRefused(pay: typeof fetch): Promise<{ served: number; refusal: string }> {
  for (let served = 0; served < 1_000; served++) {
    const answer = await pay(shop.url).catch(codeOf)
    if (!(answer instanceof Response)) return { served, refusal: answer }
  }
  throw new Error('Nobody stopped the agent within 1,000 calls.')
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error)
}
