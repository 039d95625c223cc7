import { unfreezeCall } from '@protocolbanks/stream-bundler-client'
import { createDb, listIncidents, listOpenStops, listSentinelEvents } from '@protocolbanks/stream-db'
import { devAccounts, type Stack, startStack } from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentOf, callUntilRefused, codeOf } from './testing/agentOf.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { grantOnChain } from './testing/grantOnChain.ts'
import { manage } from './testing/manage.ts'
import { openShop, type Shop } from './testing/openShop.ts'
import { startSentinel } from './testing/startSentinel.ts'

// The sentinel as a process of its own, beside all other services on a real chain.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }
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
}, 240_000)

test('a key that runs away is refused within its next calls, frozen on the chain by the guardian, and only its owner lets it go on', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  const { served, refusal } = await callUntilRefused(pay, shop.url)
  expect(refusal).toBe('grant.frozen')
  expect(served).toBeGreaterThanOrEqual(mostCalls)

  // The chain follows, and the record names what was done and why.
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  await expect.poll(() => kindsOf(budget), soon).toEqual(stopped)
  const events = await eventsOf(budget)
  const [found] = events
  const confirmed = events.find(({ kind }) => kind === 'freeze_confirmed')
  expect(found?.kind).toBe('freeze')
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
  await budget.bundlerClient.waitForUserOperationReceipt({ hash: operation, timeout: 120_000 })
  await expect.poll(async () => (await pay(shop.url).catch(codeOf)) instanceof Response, soon).toBe(true)
})

test('two sentinels find the same, and one freeze is made', { timeout }, async () => {
  const second = await startSentinel(stack, eager, 'sentinel-2')
  try {
    const budget = await giveBudget(stack, shop)
    await callUntilRefused(agentOf(budget), shop.url)
    await expect.poll(() => statusOf(budget), soon).toBe('frozen')
    await expect.poll(async () => (await listOpenStops(db, 10)).length, soon).toBe(0)
    expect(await kindsOf(budget)).toEqual(stopped)
  } finally {
    await second.stop()
  }
})

test('what runs away while the sentinel is gone is frozen when it is back', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  await stack.sentinel?.stop()
  for (let call = 0; call < 2 * mostCalls; call++) expect((await pay(shop.url)).status).toBe(200)
  const again = await startSentinel(stack, eager, 'sentinel-3')
  try {
    await expect.poll(() => statusOf(budget), soon).toBe('frozen')
    // Gateways and chain are told side by side.
    await expect.poll(() => pay(shop.url).catch(codeOf), soon).toBe('grant.frozen')
  } finally {
    await again.stop()
  }
})

async function statusOf(budget: Budget) {
  return (await grantOnChain(stack, budget)).status
}

/** Gateways and chain do not wait for each other, so the order of what they did is open. */
const stopped = ['freeze', 'freeze_confirmed', 'freeze_refused']

async function kindsOf(budget: Budget): Promise<string[]> {
  return (await eventsOf(budget)).map(({ kind }) => kind).toSorted()
}

/** Oldest first. */
async function eventsOf({ grantId }: Budget) {
  return (await listSentinelEvents(db, { grantId })).items.toReversed()
}
