import { freePort, type Service, type Stack, startService, startStack } from '@protocolbanks/stream-dev'
import { createPayingFetch, PaymentRefusedError } from '@protocolbanks/stream-sdk'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Cuttable, createCuttable } from './testing/cuttable.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readinessOf } from './testing/readinessOf.ts'
import { readBooks } from './testing/settleAll.ts'
import { gatewayEnv } from './testing/startGateway.ts'

// What is served on credit while nothing can be settled: up to the merchant's limit and not one unit more, over several
// accounts and two gateways. All services as processes of their own.

const timeout = 900_000
const soon = { timeout: 240_000, interval: 500 }
const stalenessSeconds = 3_600
const calls = 24n
const maxTotal = calls * priceAtomic

let chainWay: Cuttable
let bundlerWay: Cuttable
let stack: Stack
let second: Service
beforeAll(async () => {
  const ports = { anvil: await freePort(), bundler: await freePort() }
  chainWay = await createCuttable(`http://127.0.0.1:${ports.anvil}`)
  bundlerWay = await createCuttable(`http://127.0.0.1:${ports.bundler}`)
  const ways = { RPC_URL: chainWay.url, BUNDLER_URL: bundlerWay.url }
  const gateway = { RPC_URL: chainWay.url, MAX_CHAIN_STALENESS_SECONDS: `${stalenessSeconds}` }
  stack = await startStack({ ports, env: { gateway, settlement: ways, paymaster: ways } })
  if (!stack.redis) throw new Error('Two gateways need a Redis.')
  second = await startService('gateway', {
    logDirectory: stack.logDirectory,
    label: 'gateway-2',
    env: { ...gatewayEnv(stack), ...gateway },
  })
}, timeout)
afterAll(async () => {
  await second?.stop()
  await stack?.stop()
  await bundlerWay?.close()
  await chainWay?.close()
}, 240_000)

const shops: Shop[] = []
afterEach(async () => {
  for (const shop of shops.splice(0)) await shop.stop()
})

/** A shop that trusts all accounts together with so much, and budgets of so many owners for it. */
async function arrange(name: string, owners: number): Promise<{ shop: Shop; budgets: Budget[] }> {
  const shop = await openShop(stack, name)
  shops.push(shop)
  const limit = `${Number(maxTotal) / 1e6}`
  const { body } = await manage<{ merchantId: string; maxTotalAtomic: string }>(
    stack,
    shop.apiKey,
    `PUT /merchants/${shop.merchantId}/credit`,
    { mode: 'credit', maxTotal: limit },
  )
  expect(body.maxTotalAtomic).toBe(`${maxTotal}`)
  const budgets: Budget[] = []
  for (let owner = 0; owner < owners; owner++) budgets.push(await giveBudget(stack, shop))
  return { shop, budgets }
}

type Outcomes = { served: number; refused: Map<string, number> }

/** Each budget's agent calls so often, one call after the other, every other one at the second gateway. */
async function callAll(shop: Shop, budgets: Budget[], callsEach: number): Promise<Outcomes> {
  const outcomes: Outcomes = { served: 0, refused: new Map() }
  await Promise.all(
    budgets.map(async ({ agentGrant, sessionPrivateKey }) => {
      const agent = createPayingFetch({
        grant: agentGrant,
        sessionKey: sessionPrivateKey,
        // Both gateways are one deployment: the load balancer sends a call to either.
        fetch: (input, init) => {
          const url = new URL(input instanceof Request ? input.url : input)
          url.host = new URL((turns++ % 2 === 0 ? stack.gateway : second).url).host
          return fetch(input instanceof Request ? new Request(url, input) : url, init)
        },
      })
      for (let call = 0; call < callsEach; call++) {
        try {
          const response = await agent(`${shop.url}/${call}`)
          await response.json()
          if (response.ok) outcomes.served++
        } catch (error) {
          if (!(error instanceof PaymentRefusedError)) throw error
          const { code, retryable, retryAfterSeconds } = error
          const kind = `${code} retryable=${retryable} after=${retryAfterSeconds}`
          outcomes.refused.set(kind, (outcomes.refused.get(kind) ?? 0) + 1)
        }
      }
    }),
  )
  return outcomes
}
let turns = 0

/** Asks for what is below every trigger, and waits until the chain has paid all that was charged; answers how much. */
async function settleRest(shop: Shop, budget: Budget): Promise<bigint> {
  const { live } = await readBooks(stack, shop, budget)
  const settled = async () => {
    const books = await readBooks(stack, shop, budget)
    // Answered 409 when nothing is due, or not yet in the journal: the next round asks again.
    if (books.settled < live) await manage(stack, shop.apiKey, 'POST /settlements', { grantId: budget.grantId })
    return books.settled
  }
  await expect.poll(settled, soon).toBe(live)
  return live
}

async function owedTo(shop: Shop): Promise<bigint> {
  const path = `GET /merchants/${shop.merchantId}/credit` as const
  return BigInt((await manage<{ owedAtomic: string }>(stack, shop.apiKey, path)).body.owedAtomic)
}

/** Served up to the limit and refused beyond it; what was owed is settled by itself then, and calls go on. */
async function expectLimitWhile({ shop, budgets }: Awaited<ReturnType<typeof arrange>>, mend: () => Promise<void>) {
  const first = await callAll(shop, budgets, 10)
  // What is left of the limit may be on its way from one account's partition to another's: a refused call is tried later.
  const callUntilUsed = async () => {
    if (first.served < Number(calls)) first.served += (await callAll(shop, budgets, 1)).served
    return first.served
  }
  await expect.poll(callUntilUsed, soon).toBeGreaterThanOrEqual(Number(calls))
  expect(first.served).toBe(Number(calls))
  expect(shop.calls).toHaveLength(Number(calls))
  expect([...first.refused.keys()]).toEqual(['limit.exposure retryable=true after=5'])
  expect(await owedTo(shop)).toBe(maxTotal)
  const again = await callAll(shop, budgets, 2)
  expect(again.served).toBe(0)
  await expect.poll(() => readinessOf(stack.gateway), soon).toEqual({ status: 200, failing: [] })

  await mend()
  await expect.poll(() => owedTo(shop), soon).toBeLessThan(maxTotal / 2n)
  const after = await callAll(shop, budgets, 2)
  const goal = 2 * budgets.length
  const callUntilServed = async () => {
    if (after.served < goal) after.served += (await callAll(shop, budgets, 1)).served
    return after.served
  }
  await expect.poll(callUntilServed, soon).toBeGreaterThanOrEqual(goal)
  expect([...after.refused.keys()].filter((kind) => !kind.startsWith('limit.exposure '))).toEqual([])

  // Everything that was served is paid, to the unit.
  const served = first.served + after.served
  expect(shop.calls).toHaveLength(served)
  let charged = 0n
  for (const budget of budgets) {
    charged += await settleRest(shop, budget)
  }
  expect(charged).toBe(BigInt(served) * priceAtomic)
  const [budget] = budgets
  if (!budget) throw new Error('No budget.')
  expect((await readBooks(stack, shop, budget)).received).toBe(charged)
  await expect.poll(() => owedTo(shop), soon).toBe(0n)
}

test('while the bundler is gone calls are served on credit up to the limit exactly, and go on by themselves when it is back', {
  timeout,
}, async () => {
  const arranged = await arrange('market', 4)
  await bundlerWay.cut()
  await expectLimitWhile(arranged, () => bundlerWay.mend())
})

test('while the chain cannot be seen calls are served up to the limit too, where the operator allows the mirror to be old', {
  timeout,
}, async () => {
  const arranged = await arrange('bazaar', 3)
  chainWay.hang()
  await expectLimitWhile(arranged, async () => {
    await chainWay.cut()
    await chainWay.mend()
  })
})
