import { randomBytes } from 'node:crypto'
import {
  type Call,
  cancelWithdrawalCall,
  type DepositAuthorization,
  depositWithAuthorizationCall,
  depositWithPermitCall,
  requestWithdrawalCall,
  toDepositAuthorizationData,
  toDepositPermitData,
  withdrawCall,
} from '@protocolbanks/stream-bundler-client'
import { type ChainClients, createChainClients, mintTestUsdc, type Stack, startStack } from '@protocolbanks/stream-dev'
import {
  type Address,
  decodeHeader,
  type Hex,
  paymentRequiredHeader,
  paymentRequiredSchema,
  paymentResponseHeader,
  reserveOf,
  sessionExtraSchema,
  sessionReceiptSchema,
  settleResponseSchema,
} from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { erc20Abi, http, parseEther } from 'viem'
import { createBundlerClient } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'

// Grants that are paid from the reserve, with all services as processes on a real chain.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }

let stack: Stack
let token: Address
let reserve: Address
let stranger: ChainClients
beforeAll(async () => {
  stack = await startStack()
  token = stack.contracts.testUsdc
  reserve = reserveOf(stack.contracts.sessionKeyValidator)
  stranger = await createStranger()
}, timeout)
afterAll(() => stack?.stop(), 240_000)

let shops = 0
const closers: (() => Promise<void>)[] = []
beforeEach(() => async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

test('a grant paid from the reserve is served without an allowance, and every unit settled leaves the reserve', {
  timeout,
}, async () => {
  const deposit = 20_000_000n
  const { shop, budget } = await openNextShop(deposit)
  const { publicClient } = stack.clients
  const address = budget.account.address
  const module = stack.contracts.sessionKeyValidator
  // The address that everybody computes is the one that the module says.
  const named = { address: module, abi: sessionKeyValidatorAbi, functionName: 'reserve' } as const
  expect(await publicClient.readContract(named)).toBe(reserve)
  const allowance = { address: token, abi: erc20Abi, functionName: 'allowance', args: [address, module] } as const
  expect(await publicClient.readContract(allowance)).toBe(0n)

  const offer = await fetch(`${shop.url}/x`)
  const required = decodeHeader(offer.headers.get(paymentRequiredHeader) ?? '', paymentRequiredSchema)
  const [accepted] = required.ok ? required.value.accepts : []
  expect(sessionExtraSchema.parse(accepted?.extra).sources).toEqual(['allowance', 'reserve'])

  const agent = agentOf(budget)
  for (let call = 0; call < 5; call++) {
    const answer = await agent(`${shop.url}/x`)
    const receipt = decodeHeader(answer.headers.get(paymentResponseHeader) ?? '', settleResponseSchema)
    expect(answer.status).toBe(200)
    expect(receipt.ok && sessionReceiptSchema.parse(receipt.value.extra).source).toBe('reserve')
  }
  const paid = 5n * priceAtomic
  const books = { live: paid, charged: paid, settled: paid, received: paid, calls: 5 }
  expect(await settleAll(stack, shop, budget, paid)).toEqual(books)
  expect(await poolOf(address)).toEqual({ balance: deposit - paid, withdrawing: 0n, withdrawableAt: 0n })
  expect(await balanceOf(address)).toBe(100_000_000n - deposit)
  await expect
    .poll(() => viewOf(shop, budget), soon)
    .toMatchObject({
      source: 'reserve',
      backing: 'guaranteed',
      funds: { availableAtomic: `${deposit - paid}`, withdrawingAtomic: '0', withdrawableAt: null },
    })
})

test('two grants share one reserve and are never served more than is in it, to the last unit', {
  timeout,
}, async () => {
  const deposit = 11n * priceAtomic + priceAtomic / 2n
  const { shop, budget } = await openNextShop(deposit)
  const other = await openNextShop(0n, budget)
  const pairs = [{ shop, budget }, other]
  const outcomes = await Promise.all(
    pairs.flatMap(({ shop, budget }) => {
      const call = callerOf(shop, budget)
      return Array.from({ length: 10 }, call)
    }),
  )
  expect(outcomes.filter((outcome) => outcome === 200)).toHaveLength(11)
  expect(outcomes.filter((outcome) => outcome === 'funds.insufficient')).toHaveLength(9)
  expect(shop.calls.length + other.shop.calls.length).toBe(11)

  for (const { shop, budget } of pairs) {
    const paid = BigInt(shop.calls.length) * priceAtomic
    expect(await settleAll(stack, shop, budget, paid)).toMatchObject({ settled: paid, received: paid })
  }
  expect(await poolOf(budget.account.address)).toMatchObject({ balance: priceAtomic / 2n })
})

test('one EIP-3009 signature, sent by a stranger, tops the reserve up; nobody can credit another account with it', {
  timeout,
}, async () => {
  const { shop, budget } = await openNextShop(priceAtomic)
  const { owner, account } = budget
  const call = callerOf(shop, budget)
  expect([await call(), await call()]).toEqual([200, 'funds.insufficient'])

  await mintTestUsdc(stack.clients, { token, to: owner.address, amountAtomic: 3n * priceAtomic })
  const authorization: DepositAuthorization = {
    reserve,
    token,
    account: account.address,
    from: owner.address,
    amount: 3n * priceAtomic,
    validAfter: 0n,
    validBefore: BigInt(Math.floor(Date.now() / 1_000) + 3_600),
    salt: randomHex(32),
  }
  const signature = await owner.signTypedData(toDepositAuthorizationData(authorization, domain()))
  const thief = stranger.walletClient.account.address
  const redirected = depositWithAuthorizationCall({ ...authorization, account: thief, signature })
  await expect(stranger.publicClient.call({ ...redirected, account: thief })).rejects.toThrow()
  await sendByStranger(depositWithAuthorizationCall({ ...authorization, signature }))
  expect(await poolOf(account.address)).toMatchObject({ balance: 4n * priceAtomic })

  await expect.poll(call, soon).toBe(200)
  expect([await call(), await call(), await call()]).toEqual([200, 200, 'funds.insufficient'])
  const paid = 4n * priceAtomic
  expect(await settleAll(stack, shop, budget, paid)).toMatchObject({ settled: paid, received: paid })
  expect(await poolOf(account.address)).toMatchObject({ balance: 0n })
})

test("the account's own tokens go into its reserve by a permit or an authorization that it signs by ERC-1271", {
  timeout,
}, async () => {
  const { shop, budget } = await openNextShop(0n)
  const { account } = budget
  const { publicClient } = stack.clients
  const deadline = BigInt(Math.floor(Date.now() / 1_000) + 3_600)
  const nonces = { address: token, abi: testUsdcAbi, functionName: 'nonces', args: [account.address] } as const
  const permit = { reserve, token, account: account.address, amount: 2n * priceAtomic, deadline }
  const nonce = await publicClient.readContract(nonces)
  const permitted = await account.signTypedData(toDepositPermitData({ ...permit, nonce }, domain()))
  await sendByStranger(depositWithPermitCall({ ...permit, signature: permitted }))

  const from = account.address
  const times = { validAfter: 0n, validBefore: deadline }
  const authorization = { reserve, token, account: from, from, amount: priceAtomic, ...times, salt: randomHex(32) }
  const authorized = await account.signTypedData(toDepositAuthorizationData(authorization, domain()))
  await sendByStranger(depositWithAuthorizationCall({ ...authorization, signature: authorized }))

  expect(await poolOf(from)).toMatchObject({ balance: 3n * priceAtomic })
  expect(await balanceOf(from)).toBe(100_000_000n - 3n * priceAtomic)
  const call = callerOf(shop, budget)
  await expect.poll(call, soon).toBe(200)
  // The gateway may see one deposit before the other.
  await expect
    .poll(() => viewOf(shop, budget), soon)
    .toMatchObject({ funds: { availableAtomic: `${3n * priceAtomic}` } })
  expect([await call(), await call(), await call()]).toEqual([200, 200, 'funds.insufficient'])
})

test('a withdrawal stops new calls, what was charged is paid while it waits, and cancelling it serves again', {
  timeout,
}, async () => {
  const deposit = 20_000_000n
  const { shop, budget } = await openNextShop(deposit)
  const call = callerOf(shop, budget)
  for (let count = 0; count < 3; count++) expect(await call()).toBe(200)

  await byOwner(budget, requestWithdrawalCall({ reserve, token, amount: deposit }))
  await expect.poll(call, soon).toBe('funds.insufficient')
  // Until the gateway saw it, it served on: all of that is owed, and was there to be paid.
  const owed = BigInt(shop.calls.length) * priceAtomic
  await untilSettled(shop, budget, owed)
  // One settlement, or another for what was journalled after the first began.
  expect(new Set(await triggersOf(shop, budget))).toEqual(new Set(['withdrawal']))
  const { balance, withdrawing, withdrawableAt } = await poolOf(budget.account.address)
  expect({ balance, withdrawing }).toEqual({ balance: deposit - owed, withdrawing: deposit - owed })
  expect((await stack.clients.publicClient.getBlock()).timestamp).toBeLessThan(withdrawableAt)
  await expect
    .poll(() => viewOf(shop, budget), soon)
    .toMatchObject({
      funds: {
        availableAtomic: '0',
        withdrawingAtomic: `${deposit - owed}`,
        withdrawableAt: new Date(Number(withdrawableAt) * 1_000).toISOString(),
      },
    })
  expect(await call()).toBe('funds.insufficient')

  await byOwner(budget, cancelWithdrawalCall({ reserve, token }))
  await expect.poll(call, soon).toBe(200)
})

test('after the delay the owner takes out what vouchers have left, and no voucher was left unpaid', {
  timeout,
}, async () => {
  const deposit = 20_000_000n
  const { shop, budget } = await openNextShop(deposit)
  const call = callerOf(shop, budget)
  for (let count = 0; count < 3; count++) expect(await call()).toBe(200)
  // More than what is left beside the calls, less than all: two more calls are covered.
  const asked = deposit - 5n * priceAtomic
  await byOwner(budget, requestWithdrawalCall({ reserve, token, amount: asked }))
  await expect
    .poll(() => viewOf(shop, budget), soon)
    .toMatchObject({ funds: { availableAtomic: `${5n * priceAtomic}` } })
  await expect.poll(call, soon).toBe('funds.insufficient')
  const owed = BigInt(shop.calls.length) * priceAtomic
  expect(owed).toBeGreaterThanOrEqual(5n * priceAtomic)
  expect(await settleAll(stack, shop, budget, owed)).toMatchObject({ settled: owed, received: owed })

  const { account } = budget
  const { publicClient } = stack.clients
  const to = privateKeyToAccount(generatePrivateKey()).address
  const pool = { address: reserve, abi: prepaidReserveAbi } as const
  const withdraw = { ...pool, functionName: 'withdraw', args: [token, to], account: account.address } as const
  await expect(publicClient.simulateContract(withdraw)).rejects.toThrow('WithdrawalNotReady')
  await passOneDay()
  // A day later the paymaster's clock is a day behind: the account pays for this one itself.
  await sendEth(account.address)
  const own = createBundlerClient({
    account,
    chain: foundry,
    client: publicClient,
    transport: http(stack.bundler.url),
    pollingInterval: 50,
  })
  const hash = await own.sendUserOperation({ calls: [withdrawCall({ reserve, token, to })] })
  expect((await own.waitForUserOperationReceipt({ hash, timeout: 120_000 })).success).toBe(true)
  const out = asked < deposit - owed ? asked : deposit - owed
  expect(await balanceOf(to)).toBe(out)
  expect(await poolOf(account.address)).toEqual({ balance: deposit - owed - out, withdrawing: 0n, withdrawableAt: 0n })
})

/** A shop of its own, and a grant for it out of the reserve, of a new owner or of the one of a budget before. */
async function openNextShop(deposit: bigint, owner?: Budget): Promise<{ shop: Shop; budget: Budget }> {
  const shop = await openShop(stack, `shop-${++shops}`)
  closers.push(shop.stop)
  return { shop, budget: await giveBudget(stack, shop, { deposit, ...(owner && { owner }) }) }
}

function agentOf({ agentGrant, sessionPrivateKey }: Budget): typeof fetch {
  return createPayingFetch({ grant: agentGrant, sessionKey: sessionPrivateKey })
}

/** One paid call after the other: its status, or the code of its refusal. */
function callerOf(shop: Shop, budget: Budget): () => Promise<number | string> {
  const agent = agentOf(budget)
  return () =>
    agent(`${shop.url}/x`).then(
      ({ status }) => status,
      ({ code }: { code: string }) => code,
    )
}

/** The grant as the merchant sees it. */
async function viewOf(shop: Shop, { terms }: Budget): Promise<unknown> {
  const { body } = await manage<{ grants?: unknown[] }>(stack, shop.apiKey, `GET /session-keys/${terms.sessionKey}`)
  return body.grants?.[0]
}

async function triggersOf(shop: Shop, { grantId }: Budget): Promise<string[] | undefined> {
  const path = `GET /settlements?grantId=${grantId}` as const
  const { body } = await manage<{ settlements?: { trigger: string }[] }>(stack, shop.apiKey, path)
  return body.settlements?.map(({ trigger }) => trigger)
}

/** Nobody asks for it. */
async function untilSettled(shop: Shop, budget: Budget, expected: bigint): Promise<void> {
  const books = async () => {
    const { charged, settled, received } = await readBooks(stack, shop, budget)
    return { charged, settled, received }
  }
  await expect.poll(books, soon).toEqual({ charged: expected, settled: expected, received: expected })
}

async function poolOf(account: Address): Promise<{ balance: bigint; withdrawing: bigint; withdrawableAt: bigint }> {
  const [balance, withdrawing, withdrawableAt] = await stack.clients.publicClient.readContract({
    address: reserve,
    abi: prepaidReserveAbi,
    functionName: 'poolOf',
    args: [account, token],
  })
  return { balance, withdrawing, withdrawableAt }
}

function balanceOf(address: Address): Promise<bigint> {
  const { publicClient } = stack.clients
  return publicClient.readContract({ address: token, abi: erc20Abi, functionName: 'balanceOf', args: [address] })
}

/** A sponsored UserOperation of the account, signed by its owner. */
async function byOwner({ account, bundlerClient }: Budget, call: Call): Promise<void> {
  const hash = await bundlerClient.sendUserOperation({ account, calls: [call] })
  const { success, reason } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
  if (!success) throw new Error(`The operation ${hash} failed: ${reason}`)
}

/** Somebody with gas and nothing else to do with the grant. */
async function createStranger(): Promise<ChainClients> {
  const account = privateKeyToAccount(generatePrivateKey())
  await sendEth(account.address)
  return createChainClients(stack.chain.url, account)
}

async function sendByStranger({ to, data }: Call): Promise<void> {
  const hash = await stranger.walletClient.sendTransaction({ to, data })
  const { status } = await stranger.publicClient.waitForTransactionReceipt({ hash })
  if (status !== 'success') throw new Error(`The transaction ${hash} to ${to} reverted.`)
}

async function sendEth(to: Address): Promise<void> {
  const { publicClient, walletClient } = stack.clients
  const hash = await walletClient.sendTransaction({ to, value: parseEther('1') })
  await publicClient.waitForTransactionReceipt({ hash })
}

async function passOneDay(): Promise<void> {
  const { publicClient } = stack.clients
  await publicClient.request({ method: 'evm_increaseTime' as never, params: [86_400] as never })
  await publicClient.request({ method: 'evm_mine' as never })
}

function domain() {
  return { name: 'USD Coin', version: '2', chainId: stack.chain.chainId }
}

function randomHex(size: number): Hex {
  return `0x${randomBytes(size).toString('hex')}`
}
