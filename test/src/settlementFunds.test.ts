import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { devAccounts, mintTestUsdc, type Stack, startStack } from '@protocolbanks/stream-dev'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createTestClient, createWalletClient, encodeFunctionData, erc20Abi, http, parseEther } from 'viem'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, type Shop } from './testing/openShop.ts'
import { settleAll } from './testing/settleAll.ts'
import { startTraffic, type Traffic } from './testing/startTraffic.ts'

// Money that goes and comes back while an agent pays: what is served, what waits, and that nobody has to lift a hand.

const timeout = 600_000
const soon = { timeout: 180_000, interval: 100 }

let stack: Stack
let login: ReturnType<typeof connectAsLogin>
beforeAll(async () => {
  stack = await startStack()
  login = connectAsLogin(stack.databaseUrl)
}, timeout)
afterAll(async () => {
  await login?.close()
  await stack?.stop()
}, 240_000)

let shops = 0
const closers: (() => Promise<void>)[] = []
beforeEach(() => async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

test.each([
  {
    what: 'the owner takes the allowance back',
    reason: 'allowance_gone',
    take: ({ account }: Budget) => asOwner(account.address, approval(0n)),
    giveBack: ({ account }: Budget) => asOwner(account.address, approval(100_000_000n)),
  },
  {
    what: 'the owner moves the money elsewhere',
    reason: 'balance_too_low',
    async take({ account }: Budget) {
      const balance = await stack.clients.publicClient.readContract({
        address: stack.contracts.testUsdc,
        abi: erc20Abi,
        functionName: 'balanceOf',
        args: [account.address],
      })
      const args = [devAccounts.operator.address, balance] as const
      await asOwner(account.address, encodeFunctionData({ abi: erc20Abi, functionName: 'transfer', args }))
    },
    async giveBack({ account }: Budget) {
      const { testUsdc: token } = stack.contracts
      await mintTestUsdc(stack.clients, { token, to: account.address, amountAtomic: 50_000_000n })
    },
  },
])('when $what, nothing more is served, and all goes on by itself when it is back', { timeout }, async (money) => {
  const { shop, budget, traffic } = await trade()
  await money.take(budget)
  await traffic.untilRefused('402 funds.insufficient')
  await askForSettlement(shop, budget)
  await expect
    .poll(() => newest(shop, budget), soon)
    .toMatchObject({
      state: 'failed',
      failureReason: money.reason,
      attempts: 0,
    })
  await money.giveBack(budget)
  await traffic.untilServed(10)
  await expect.poll(() => newest(shop, budget), soon).toMatchObject({ state: 'confirmed', attempts: 0 })
  await settled({ shop, budget, traffic })
})

test('a payee whom the token blocks is not served until it pays them again', { timeout }, async () => {
  const { shop, budget, traffic } = await trade()
  await setBlocked(shop, true)
  await askForSettlement(shop, budget)
  await traffic.untilRefused('402 grant.frozen')
  await expect
    .poll(() => newest(shop, budget), soon)
    .toMatchObject({ state: 'failed', failureReason: 'payee_blocked', attempts: 0 })
  type Keys = { grants: { status: string; note: string; blockedPayees: { payee: string }[] }[] }
  const path = `GET /session-keys/${budget.terms.sessionKey}` as const
  expect((await manage<Keys>(stack, shop.apiKey, path)).body.grants).toMatchObject([
    { status: 'frozen', note: expect.stringContaining('does not pay'), blockedPayees: [{ payee: shop.payee }] },
  ])
  await setBlocked(shop, false)
  // It is asked about after a minute; nobody waits for that here.
  await login.query('update payee_block set next_check_at = now() where payee = $1', [shop.payee.toLowerCase()])
  await traffic.untilServed(10)
  await expect.poll(() => newest(shop, budget), soon).toMatchObject({ state: 'confirmed', attempts: 0 })
  expect((await manage<Keys>(stack, shop.apiKey, path)).body.grants).toMatchObject([
    { status: 'active', note: null, blockedPayees: [] },
  ])
  await settled({ shop, budget, traffic })
})

type Trade = { shop: Shop; budget: Budget; traffic: Traffic }

/** An agent that pays a new shop all the time. */
async function trade(): Promise<Trade> {
  const shop = await openShop(stack, `funded-${++shops}`)
  closers.push(shop.stop)
  const budget = await giveBudget(stack, shop)
  const traffic = startTraffic(shop, budget)
  closers.push(() => traffic.stop())
  await traffic.untilServed(10)
  return { shop, budget, traffic }
}

/** Everything that was served is charged, settled and received, and nothing else. */
async function settled({ shop, budget, traffic }: Trade): Promise<void> {
  await traffic.stop()
  expect(traffic.surprises).toEqual([])
  const expected = 10_000n * BigInt(traffic.served())
  expect(await settleAll(stack, shop, budget, expected)).toMatchObject({ charged: expected, received: expected })
}

/** Once something that was charged is in the journal. */
async function askForSettlement({ apiKey }: Shop, { grantId }: Budget): Promise<void> {
  const asked = async () => (await manage(stack, apiKey, 'POST /settlements', { grantId })).status
  await expect.poll(asked, soon).toBe(202)
}

type Shown = { state: string; failureReason: string | null; attempts: number }

async function newest({ apiKey }: Shop, { grantId }: Budget): Promise<Shown | undefined> {
  const path = `GET /settlements?grantId=${grantId}&limit=1` as const
  return (await manage<{ settlements: Shown[] }>(stack, apiKey, path)).body.settlements[0]
}

function approval(amount: bigint): Hex {
  const args = [stack.contracts.sessionKeyValidator, amount] as const
  return encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args })
}

/** The account calls the token, as if its owner had sent it with gas of their own. */
async function asOwner(account: Address, data: Hex): Promise<void> {
  const chain = foundry
  const node = createTestClient({ mode: 'anvil', chain, transport: http(stack.chain.url) })
  await node.impersonateAccount({ address: account })
  await node.setBalance({ address: account, value: parseEther('1') })
  const wallet = createWalletClient({ account, chain, transport: http(stack.chain.url) })
  const hash = await wallet.sendTransaction({ to: stack.contracts.testUsdc, data })
  await stack.clients.publicClient.waitForTransactionReceipt({ hash })
  await node.stopImpersonatingAccount({ address: account })
}

async function setBlocked({ payee }: Shop, isBlocked: boolean): Promise<void> {
  const { walletClient, publicClient } = stack.clients
  const hash = await walletClient.writeContract({
    address: stack.contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'setBlocked',
    args: [payee, isBlocked],
  })
  await publicClient.waitForTransactionReceipt({ hash })
}
