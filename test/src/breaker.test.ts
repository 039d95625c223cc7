import { unfreezeCall } from '@protocolbanks/stream-bundler-client'
import {
  createDb,
  getBreaker,
  listIncidents,
  listOpenStops,
  listSentinelEvents,
  recordDecision,
  setVoucherPolicyAsOwner,
  withOwner,
} from '@protocolbanks/stream-db'
import { devAccounts, type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionData, parseEventLogs } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentOf, callUntilRefused, codeOf } from './testing/agentOf.ts'
import { type Cuttable, createCuttable } from './testing/cuttable.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { grantOnChain } from './testing/grantOnChain.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { startSentinel } from './testing/startSentinel.ts'

// The breaker of grants, with two sentinels that share one guardian, beside all other services on a real chain.

const timeout = 600_000
const soon = { timeout: 180_000, interval: 100 }
/** More calls in a minute than this freeze a grant; half of it on probation. */
const mostCalls = 20
const halfOpenSeconds = 20

let stack: Stack
let db: ReturnType<typeof createDb>
let shop: Shop
let rpc: Cuttable
const sentinels: Service[] = []
beforeAll(async () => {
  stack = await startStack()
  db = createDb({ url: stack.databaseUrl, maxConnections: 2, onError: () => {} })
  shop = await openShop(stack, 'weather')
  rpc = await createCuttable(stack.chain.url)
  for (const label of ['sentinel-1', 'sentinel-2']) sentinels.push(await startSentinel(stack, sentinelEnv(), label))
}, timeout)
afterAll(async () => {
  for (const sentinel of sentinels) await sentinel.stop()
  await rpc?.close()
  await shop?.stop()
  await db?.close()
  await stack?.stop()
}, 240_000)

test('twenty grants that run away at once are frozen in a transaction or two, each proven by its own event', {
  timeout,
}, async () => {
  const budgets = await giveBudgets(5, 4)
  const before = await guardianNonce()
  // Until all are found the chain is away: how many go together does not depend on how fast this machine is.
  await rpc.cut()
  try {
    await Promise.all(budgets.map((budget) => callUntilRefused(agentOf(budget), shop.url)))
    for (const budget of budgets) await expect.poll(() => kindsOf(budget), soon).toContain('freeze_refused')
  } finally {
    await rpc.mend()
  }
  for (const budget of budgets) await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  await expect.poll(async () => (await listOpenStops(db, 100)).length, soon).toBe(0)

  const transactions = new Set<Hex>()
  for (const budget of budgets) {
    const proof = await proofOf(budget)
    transactions.add(proof.txHash)
    const receipt = await stack.clients.publicClient.getTransactionReceipt({ hash: proof.txHash })
    const events = parseEventLogs({ abi: sessionKeyValidatorAbi, logs: receipt.logs, eventName: 'GrantFrozen' })
    const own = events.find(({ logIndex }) => logIndex === proof.logIndex)
    expect(own?.args).toEqual({
      account: budget.account.address,
      grantId: budget.grantId,
      by: devAccounts.guardian.address,
    })
    // One freeze by one of the sentinels, whoever found what.
    expect((await kindsOf(budget)).filter((kind) => kind === 'freeze_confirmed')).toHaveLength(1)
  }
  const sent = (await guardianNonce()) - before
  expect(transactions.size).toBeLessThanOrEqual(sent)
  expect(sent).toBeLessThanOrEqual(2)
  // All that the guardian's key ever signed: stops at the module.
  for (const hash of transactions) {
    const { to, input, value } = await stack.clients.publicClient.getTransaction({ hash })
    expect({ to, value }).toEqual({ to: stack.contracts.sessionKeyValidator.toLowerCase(), value: 0n })
    expect(decodeFunctionData({ abi: sessionKeyValidatorAbi, data: input }).functionName).toBe('stopMany')
  }
})

test('while the chain is away a grant is refused all the same, and frozen there when it is back', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  await rpc.cut()
  try {
    const { refusal } = await callUntilRefused(agentOf(budget), shop.url)
    expect(refusal).toBe('grant.frozen')
    await expect.poll(() => kindsOf(budget), soon).toEqual(['freeze', 'freeze_refused'])
    expect(await statusOf(budget)).toBe('active')
  } finally {
    await rpc.mend()
  }
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  await expect.poll(() => kindsOf(budget), soon).toEqual(['freeze', 'freeze_refused', 'freeze_confirmed'])
})

test('its owner’s signature lets a grant go on, on probation: a lapse stops it again, quiet closes it, and the third time is for good', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  await callUntilRefused(pay, shop.url)
  await expect.poll(() => stateOf(budget), soon).toBe('open')
  await expect.poll(() => kindsOf(budget), soon).toContain('freeze_confirmed')
  const [incident] = (await listIncidents(db, { grantId: budget.grantId })).items
  expect(incident).toMatchObject({ state: 'open', rule: 'calls.per_minute', voucherPolicy: 'hold' })

  // Saying so is not enough: what is frozen on the chain only the owner's signature resumes.
  const confirmation = { incidentId: incident?.id ?? '', decision: 'confirm', actor: 'owner', now: new Date() } as const
  expect(await recordDecision(db, confirmation)).toBe('recorded')
  expect(await stateOf(budget)).toBe('open')
  await unfreeze(budget)
  await expect.poll(() => servesAgain(pay), soon).toBe(true)
  expect(await stateOf(budget)).toBe('half_open')
  expect((await listIncidents(db, { grantId: budget.grantId, state: 'acknowledged' })).items).toHaveLength(1)

  // On probation fewer calls are too many.
  await callUntilStopped(budget, pay)
  const found = async () => (await listIncidents(db, { grantId: budget.grantId })).items.map(({ rule }) => rule)
  await expect.poll(found, soon).toContain('half_open.calls')
  await expect
    .poll(async () => (await kindsOf(budget)).filter((kind) => kind === 'freeze_confirmed').length, soon)
    .toBe(2)
  await unfreeze(budget)
  await expect.poll(() => servesAgain(pay), soon).toBe(true)
  await expect.poll(() => stateOf(budget), soon).toBe('closed')
  expect((await listIncidents(db, { grantId: budget.grantId })).items.map(({ state }) => state)).toEqual(
    expect.not.arrayContaining(['open', 'acknowledged']),
  )

  await callUntilStopped(budget, pay)
  await expect.poll(() => statusOf(budget), soon).toBe('revoked')
  await expect.poll(() => stateOf(budget), soon).toBe('revoked')
  const told = await eventsOf(budget)
  expect(told.find(({ kind, detail }) => kind === 'revoke' && detail.why === 'repeated')).toBeDefined()
  await expect.poll(() => pay(shop.url).catch(codeOf), soon).toBe('grant.revoked')
})

test('what an owner rejects is revoked at the gateways and on the chain', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const pay = agentOf(budget)
  await callUntilRefused(pay, shop.url)
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  const [incident] = (await listIncidents(db, { grantId: budget.grantId })).items
  await recordDecision(db, { incidentId: incident?.id ?? '', decision: 'reject', actor: 'owner', now: new Date() })
  await expect.poll(() => statusOf(budget), soon).toBe('revoked')
  await expect.poll(() => stateOf(budget), soon).toBe('revoked')
  await expect.poll(() => pay(shop.url).catch(codeOf), soon).toBe('grant.revoked')
})

test('held vouchers wait for the owner: nothing of them is settled while the grant is frozen', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const { served } = await callUntilRefused(agentOf(budget), shop.url)
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  const accepted = BigInt(served) * priceAtomic
  await expect.poll(() => incidentOf(budget), soon).toMatchObject({ voucherPolicy: 'hold', accepted })
  expect(await settledOf(budget)).toBe(0n)
})

test('where the owner wants it, what was accepted is settled before the freeze on the chain', { timeout }, async () => {
  const budget = await giveBudget(stack, shop)
  const { grantId } = budget
  const account = budget.account.address
  await withOwner(db, account, (tx) => setVoucherPolicyAsOwner(tx, { account, grantId, policy: 'settle' }))
  const { served, refusal } = await callUntilRefused(agentOf(budget), shop.url)
  expect(refusal).toBe('grant.frozen')
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')
  expect(await settledOf(budget)).toBe(BigInt(served) * priceAtomic)
  await expect.poll(() => incidentOf(budget), soon).toMatchObject({ voucherPolicy: 'settle', accepted: 0n })
  await expect.poll(() => kindsOf(budget), soon).toContain('freeze_confirmed')
  const told = (await eventsOf(budget)).find(({ kind }) => kind === 'freeze_confirmed')
  expect(told?.detail.acceptedAtomic).toBe('0')
})

function sentinelEnv(): Record<string, string> {
  return {
    MAX_CALLS_PER_MINUTE: `${mostCalls}`,
    WARM_UP_SECONDS: '0',
    HALF_OPEN_SECONDS: `${halfOpenSeconds}`,
    RPC_URL: rpc.url,
  }
}

/** The grants of different owners side by side. */
async function giveBudgets(owners: number, each: number): Promise<Budget[]> {
  const firsts: Budget[] = []
  // One account funds them all.
  while (firsts.length < owners) firsts.push(await giveBudget(stack, shop))
  const groups = await Promise.all(
    firsts.map(async (first) => {
      const all = [first]
      while (all.length < each) all.push(await giveBudget(stack, shop, { owner: first }))
      return all
    }),
  )
  return groups.flat()
}

function guardianNonce(): Promise<number> {
  return stack.clients.publicClient.getTransactionCount({ address: devAccounts.guardian.address })
}

async function unfreeze(budget: Budget): Promise<void> {
  const module = stack.contracts.sessionKeyValidator
  const hash = await budget.bundlerClient.sendUserOperation({
    account: budget.account,
    calls: [unfreezeCall({ module, grantId: budget.grantId })],
  })
  await budget.bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
}

async function servesAgain(pay: typeof fetch): Promise<boolean> {
  return (await pay(shop.url).catch(codeOf)) instanceof Response
}

async function stateOf({ grantId }: Budget) {
  return (await getBreaker(db, grantId))?.state
}

async function incidentOf({ grantId }: Budget) {
  return (await listIncidents(db, { grantId })).items[0]
}

async function statusOf(budget: Budget) {
  return (await grantOnChain(stack, budget)).status
}

async function settledOf(budget: Budget): Promise<bigint> {
  return (await grantOnChain(stack, budget)).settled
}

/** Oldest first. */
async function eventsOf({ grantId }: Budget) {
  return (await listSentinelEvents(db, { grantId, limit: 100 })).items.toReversed()
}

async function kindsOf(budget: Budget): Promise<string[]> {
  return (await eventsOf(budget)).map(({ kind }) => kind)
}

async function proofOf(budget: Budget): Promise<{ txHash: Hex; logIndex: number }> {
  const found = (await eventsOf(budget)).find(({ kind }) => kind === 'freeze_confirmed')
  return found?.detail as { txHash: Hex; logIndex: number }
}

/** The same until a stop is recorded: what is refused at once may be served again. */
async function callUntilStopped(budget: Budget, pay: typeof fetch): Promise<void> {
  for (let call = 0; call < 1_000; call++) {
    await pay(shop.url).catch(codeOf)
    const state = await stateOf(budget)
    if (state === 'open' || state === 'revoked') return
  }
  throw new Error('Nobody stopped the agent within 1,000 calls.')
}
