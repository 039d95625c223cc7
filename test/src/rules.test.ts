import { createDb, listIncidents } from '@protocolbanks/stream-db'
import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentOf, callUntilRefused, codeOf } from './testing/agentOf.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { grantOnChain } from './testing/grantOnChain.ts'
import { manage } from './testing/manage.ts'
import { openShop, type Shop } from './testing/openShop.ts'
import { runDocumentSample } from './testing/runDocumentSample.ts'
import { startSentinel } from './testing/startSentinel.ts'

// Rules that owners and merchants write, from the signed-in API to the chain, with all services as processes.

const timeout = 480_000
/** What stops a grant here are own rules alone. */
const sentinelEnv = { MAX_CALLS_PER_MINUTE: '10000' }
const soon = { timeout: 120_000, interval: 100 }

type SignIn = (gateway: string, origin: string, account: Budget['account']) => Promise<{ token: string }>

let stack: Stack
let db: ReturnType<typeof createDb>
let shop: Shop
let signIn: (account: Budget['account']) => Promise<string>
beforeAll(async () => {
  stack = await startStack({
    withSentinel: true,
    env: {
      gateway: { OWNER_SIGN_INS_PER_MINUTE: '1000' },
      sentinel: sentinelEnv,
    },
  })
  db = createDb({ url: stack.databaseUrl, maxConnections: 2, onError: () => {} })
  shop = await openShop(stack, 'weather')
  const sample = await runDocumentSample<{ signIn: SignIn }>('docs/owners.md')
  signIn = async (account) => (await sample.signIn(stack.gateway.url, new URL(stack.gateway.url).origin, account)).token
}, 240_000)
afterAll(async () => {
  await shop?.stop()
  await db?.close()
  await stack?.stop()
}, 240_000)

type Made = { id: string }
type Shown = { state: string; result: { charges: number; matched: number; stoppedCalls: number } | null }

test('an owner tries a rule on what was spent, sets it live, and it freezes the grant at the gateways and on the chain', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  const startedAt = new Date(Date.now() - 60_000)
  for (let call = 0; call < 6; call++) expect((await pay(shop.url)).status).toBe(200)

  const token = await signIn(budget.account)
  const rule = { name: 'Enough', expression: 'sum("10m") >= 0.05', action: 'freeze' }
  const { status, body: made } = await manage<Made>(stack, token, 'POST /owner/rules', rule)
  expect(status).toBe(201)

  // The fifth call would have been the last.
  await expect
    .poll(() => dryRun(token, made.id, startedAt), soon)
    .toMatchObject({
      charges: 5,
      matched: 1,
      stoppedGrants: 1,
      stoppedCalls: 1,
      stoppedAmount: '0.01',
      stops: [{ grantId: budget.grantId, payee: null, callsAfter: 1, until: null }],
      examples: [{ amount: '0.01', payee: shop.payee, values: { 'sum("10m")': '0.05' } }],
      cutShort: null,
    })
  expect((await pay(shop.url)).status).toBe(200)

  const live = await manage(stack, token, `POST /owner/rules/${made.id}/live`)
  expect(live.body).toMatchObject({ state: 'live', version: 1, dryRun: { state: 'done' } })
  expect(live.body).not.toHaveProperty('warning')
  expect((await callUntilRefused(pay, shop.url)).refusal).toBe('grant.frozen')
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  const { items } = await listIncidents(db, { grantId: budget.grantId })
  expect(items).toMatchObject([{ ruleId: made.id, ruleVersion: 1, action: 'freeze', severity: 'critical' }])
  // Which call is the first to be judged by it depends on the machine.
  const spent = items[0]?.inputs['sum("10m")']
  expect(Number(spent)).toBeGreaterThanOrEqual(0.05)
  expect(items[0]?.explanation).toBe(`The owner's rule "Enough" was true: sum("10m") is ${spent}.`)
})

test('a block ends by itself, lifts nobody else’s hold, and concerns the grants of its owner alone', {
  timeout,
}, async () => {
  const [budget, stranger] = [await giveBudget(stack, shop), await giveBudget(stack, shop)]
  const [pay, payAsStranger] = [agentOf(budget), agentOf(stranger)]
  const token = await signIn(budget.account)
  const rule = { name: 'Third', expression: 'callsBefore >= 2', action: 'block', blockSeconds: 3 }
  const { body: made } = await manage<Made>(stack, token, 'POST /owner/rules', rule)
  await manage(stack, token, `POST /owner/rules/${made.id}/live`)
  expect((await callUntilRefused(pay, shop.url)).refusal).toBe('grant.frozen')
  for (let call = 0; call < 5; call++) expect((await payAsStranger(shop.url)).status).toBe(200)
  const path = `/session-keys/${budget.terms.sessionKey}` as const
  await manage(stack, stack.operatorApiKey, `POST ${path}/freeze?grantId=${budget.grantId}`, { reason: 'by hand' })

  await untilOver(budget)
  expect(await pay(shop.url).catch(codeOf)).toBe('grant.frozen')
  await manage(stack, token, `POST /owner/rules/${made.id}/off`)
  const unfreeze = await manage(stack, stack.operatorApiKey, `POST ${path}/unfreeze?grantId=${budget.grantId}`, {})
  expect(unfreeze.status).toBe(200)
  await expect.poll(async () => (await pay(shop.url).catch(codeOf)) instanceof Response, soon).toBe(true)
  expect(await statusOf(budget)).toBe('active')
})

test('what is on the allow list is told and not stopped', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  const token = await signIn(budget.account)
  await manage(stack, token, 'POST /owner/rules/allow-list', { kind: 'payee', value: shop.payee })
  const rule = { name: 'Any', expression: 'amount > 0', action: 'freeze' }
  const { body: made } = await manage<Made>(stack, token, 'POST /owner/rules', rule)
  const live = await manage(stack, token, `POST /owner/rules/${made.id}/live`)
  expect(live.body).toMatchObject({ warning: 'This version went live without a dry run.' })
  const found = async () => {
    expect((await pay(shop.url)).status).toBe(200)
    return (await listIncidents(db, { grantId: budget.grantId })).items.map(({ action, explanation }) => [
      action,
      explanation,
    ])
  }
  const told = `nothing was stopped, because the payee ${shop.payee.toLowerCase()} is on the allow list.`
  await expect.poll(found, soon).toEqual([['alert', `The owner's rule "Any" was true: amount is 0.01; ${told}`]])
  expect((await pay(shop.url)).status).toBe(200)
  expect(await statusOf(budget)).toBe('active')
})

test("a merchant's rule holds what goes to the merchant and not the key, and switched off it lets go", {
  timeout,
}, async () => {
  const mine = await openShop(stack, 'maps')
  try {
    const budget = await giveBudget(stack, mine)
    const pay = agentOf(budget)
    const rule = { name: 'Too many', expression: 'calls("10m") > 2', action: 'freeze' }
    const { body: made } = await manage<Made>(stack, mine.apiKey, 'POST /rules', rule)
    await manage(stack, mine.apiKey, `POST /rules/${made.id}/live`)
    expect((await callUntilRefused(pay, mine.url)).refusal).toBe('grant.frozen')
    const incidents = async () => (await listIncidents(db, { grantId: budget.grantId })).items
    await expect.poll(incidents, soon).toMatchObject([{ ruleId: made.id, action: 'block', state: 'open' }])
    expect(await statusOf(budget)).toBe('active')

    await manage(stack, mine.apiKey, `POST /rules/${made.id}/off`)
    await expect.poll(async () => (await pay(mine.url).catch(codeOf)) instanceof Response, soon).toBe(true)
    await expect.poll(async () => (await incidents()).every(({ state }) => state === 'closed'), soon).toBe(true)
  } finally {
    await mine.stop()
  }
})

test('a block that began with one sentinel ends with another', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  const token = await signIn(budget.account)
  const rule = { name: 'Any', expression: 'callsBefore > 2', action: 'block', blockSeconds: 2 }
  const { body: made } = await manage<Made>(stack, token, 'POST /owner/rules', rule)
  await manage(stack, token, `POST /owner/rules/${made.id}/live`)
  expect((await callUntilRefused(pay, shop.url)).refusal).toBe('grant.frozen')
  await stack.sentinel?.stop()
  const another = await startSentinel(stack, sentinelEnv, 'sentinel-2')
  try {
    await untilOver(budget)
    await manage(stack, token, `POST /owner/rules/${made.id}/off`)
    await expect.poll(async () => (await pay(shop.url).catch(codeOf)) instanceof Response, soon).toBe(true)
  } finally {
    await another.stop()
  }
})

/** Of a stored rule over the time from `from` to now; undefined while the journal does not have all six calls. */
async function dryRun(token: string, ruleId: string, from: Date): Promise<Shown['result']> {
  const times = { from: from.toISOString(), until: new Date().toISOString() }
  const { status, body: asked } = await manage<Made>(stack, token, 'POST /owner/rules/dry-runs', { ...times, ruleId })
  expect(status).toBe(202)
  const read = async () => (await manage<Shown>(stack, token, `GET /owner/rules/dry-runs/${asked.id}`)).body
  await expect.poll(async () => (await read()).state, soon).toBe('done')
  return (await read()).result
}

/** Until there was an incident and none is open. Calls that are judged late may be found once more. */
async function untilOver({ grantId }: Budget): Promise<void> {
  const states = async () => new Set((await listIncidents(db, { grantId })).items.map(({ state }) => state))
  await expect.poll(states, soon).toEqual(new Set(['closed']))
}

async function statusOf(budget: Budget) {
  return (await grantOnChain(stack, budget)).status
}
