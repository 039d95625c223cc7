import {
  createBundler,
  type DelegatedSmartAccount,
  entryPoint08,
  grantSetupCalls,
  revokeAllCall,
  toDelegatedSmartAccount,
  unfreezeCall,
} from '@protocolbanks/stream-bundler-client'
import { createChainClients, devAccounts, mintTestUsdc, type Stack, startStack } from '@protocolbanks/stream-dev'
import {
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  packClaims,
  packTerms,
  payeeRootOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { streamAccount7702Abi } from '@protocolbanks/stream-protocol/abi/streamAccount7702Abi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createPayingFetch, parseGrant } from '@protocolbanks/stream-sdk'
import { concatHex, type Hex, http, type SignedAuthorization, zeroAddress } from 'viem'
import { type BundlerClient, createBundlerClient, createPaymasterClient } from 'viem/account-abstraction'
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts'
import { prepareAuthorization } from 'viem/actions'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'

// An EOA that has a key, USDC and nothing else, from its first signature to the end of its delegation (EIP-7702), through
// all services, the bundler and the chain. The tests are one story: each goes on where the one before ended.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }
const fundsAtomic = 100_000_000n

let stack: Stack
let shop: Shop
let eoa: PrivateKeyAccount
let account: DelegatedSmartAccount
let bundlerClient: BundlerClient
let terms: GrantTerms
let grantId: Hex
let agent: typeof fetch
const sessionKey = generatePrivateKey()

beforeAll(async () => {
  stack = await startStack()
  shop = await openShop(stack, 'delegated')
  eoa = privateKeyToAccount(generatePrivateKey())
  const { clients, contracts, chain, bundler, paymaster } = stack
  await mintTestUsdc(clients, { token: contracts.testUsdc, to: eoa.address, amountAtomic: fundsAtomic })
  account = await toDelegatedSmartAccount({
    client: clients.publicClient,
    owner: eoa,
    implementation: contracts.streamAccount7702Implementation,
    bundler: createBundler({
      url: bundler.url,
      chainId: chain.chainId,
      entryPoint: entryPoint08,
      chain: clients.publicClient,
    }),
  })
  bundlerClient = createBundlerClient({
    account,
    chain: foundry,
    client: clients.publicClient,
    transport: http(bundler.url),
    paymaster: createPaymasterClient({ transport: http(`${paymaster.url}/rpc?apikey=${stack.operatorApiKey}`) }),
    pollingInterval: 50,
  }) as BundlerClient
}, timeout)
afterAll(async () => {
  await shop?.stop()
  await stack?.stop()
}, 240_000)

test('a fresh EOA without ETH delegates, installs, approves and grants with one sponsored operation', {
  timeout,
}, async () => {
  const { publicClient } = stack.clients
  const { sessionKeyValidator: module, testUsdc: token, streamAccount7702Implementation } = stack.contracts
  expect(await publicClient.getCode({ address: eoa.address })).toBeUndefined()
  const { timestamp } = await publicClient.getBlock()
  terms = {
    sessionKey: privateKeyToAccount(sessionKey).address,
    settler: devAccounts.settler.address,
    token,
    totalLimit: 50_000_000n,
    periodLimit: 0n,
    period: 0,
    validAfter: Number(timestamp) - 60,
    validUntil: Number(timestamp) + 86_400,
    payeeRoot: payeeRootOf([shop.payee]),
    source: 'allowance',
    salt: `0x${'07'.repeat(24)}`,
  }
  grantId = grantIdOf({ chainId: stack.chain.chainId, module, account: eoa.address, epoch: 0n }, terms)
  const guardian = devAccounts.guardian.address
  const authorization = await account.signDelegation()
  expect(authorization).toMatchObject({ address: streamAccount7702Implementation, nonce: 0, chainId: 31_337 })
  const hash = await bundlerClient.sendUserOperation({
    account,
    calls: grantSetupCalls({ account: eoa.address, module, guardian, token, allowance: fundsAtomic, terms }),
    ...(authorization && { authorization }),
  })
  const { success, receipt } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
  expect(success).toBe(true)

  const { authorizationList } = await publicClient.getTransaction({ hash: receipt.transactionHash })
  expect(authorizationList).toHaveLength(1)
  const [delegation] = authorizationList ?? []
  expect(delegation).toMatchObject({ nonce: 0 })
  // As numbers: a node leaves leading zeros out.
  expect(BigInt(delegation?.r ?? 0)).toBe(BigInt(authorization?.r ?? 1))
  expect(await delegateOf(eoa)).toBe(streamAccount7702Implementation.toLowerCase())
  expect(await publicClient.getBalance({ address: eoa.address })).toBe(0n)
  expect(await account.isDeployed()).toBe(true)
  expect(await account.signDelegation()).toBeUndefined()
  const version = await publicClient.readContract({
    address: eoa.address,
    abi: streamAccount7702Abi,
    functionName: 'accountId',
  })
  expect(version).toBe('protocolbanks.stream7702.1.0.0')
})

test('the gateway serves what it granted, and settlement pays the merchant out of the EOA', { timeout }, async () => {
  await expect.poll(() => knowsGrant(), soon).toBe(true)
  agent = createAgent()
  for (let call = 0; call < 5; call++) expect((await agent(`${shop.url}/${call}`)).status).toBe(200)
  const paid = 5n * priceAtomic
  const books = await settleAll(stack, shop, budget(), paid)
  expect(books).toMatchObject({ live: paid, charged: paid, settled: paid, received: paid })
  expect(await balanceOf(eoa)).toBe(fundsAtomic - paid)
})

test('the key goes on signing as an EOA does: tokens and ERC-1271 accept it', { timeout }, async () => {
  const { publicClient, walletClient } = stack.clients
  const { testUsdc: token } = stack.contracts
  const nonce: Hex = `0x${'09'.repeat(32)}`
  const message = {
    ...{ from: eoa.address, to: devAccounts.payee.address, value: 1_000_000n },
    ...{ validAfter: 0n, validBefore: 2n ** 48n, nonce },
  }
  // EIP-3009, as a stock x402 client signs it.
  const authorization = {
    domain: { name: 'USD Coin', version: '2', chainId: stack.chain.chainId, verifyingContract: token },
    types: {
      TransferWithAuthorization: [
        { name: 'from', type: 'address' },
        { name: 'to', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'validAfter', type: 'uint256' },
        { name: 'validBefore', type: 'uint256' },
        { name: 'nonce', type: 'bytes32' },
      ],
    },
    primaryType: 'TransferWithAuthorization',
    message,
  } as const
  const signature = await account.signTypedData(authorization)
  expect(signature).toBe(await eoa.signTypedData(authorization))
  const verification = { address: eoa.address, ...authorization }
  expect(await publicClient.verifyTypedData({ ...verification, signature })).toBe(true)
  const byOther = await privateKeyToAccount(sessionKey).signTypedData(authorization)
  expect(await publicClient.verifyTypedData({ ...verification, signature: byOther })).toBe(false)

  const before = await balanceOf(devAccounts.payee)
  const hash = await walletClient.writeContract({
    address: token,
    abi: testUsdcAbi,
    functionName: 'transferWithAuthorization',
    args: [message.from, message.to, message.value, message.validAfter, message.validBefore, nonce, signature],
  })
  expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
  expect(await balanceOf(devAccounts.payee)).toBe(before + message.value)
})

test("a guardian's freeze stops the agent, and the EOA resumes with an operation that needs no authorisation", {
  timeout,
}, async () => {
  const { sessionKeyValidator: module } = stack.contracts
  const { walletClient, publicClient } = createChainClients(stack.chain.url, devAccounts.guardian.account)
  const freezing = await walletClient.writeContract({
    address: module,
    abi: sessionKeyValidatorAbi,
    functionName: 'freeze',
    args: [eoa.address, grantId],
  })
  expect((await publicClient.waitForTransactionReceipt({ hash: freezing })).status).toBe('success')
  await expect.poll(outcomeOfCall, soon).toBe('grant.frozen')

  const hash = await bundlerClient.sendUserOperation({ account, calls: [unfreezeCall({ module, grantId })] })
  const { success, receipt } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })
  expect(success).toBe(true)
  expect((await publicClient.getTransaction({ hash: receipt.transactionHash })).authorizationList).toBeUndefined()
  await expect.poll(outcomeOfCall, soon).toBe(200)
})

test('when the EOA ends its delegation, what the agent has signed and signs is still paid by anybody who settles', {
  timeout,
}, async () => {
  // The EOA signs; anybody sends it.
  await sendAuthorization(
    await eoa.signAuthorization(
      await prepareAuthorization(stack.clients.publicClient, { account: eoa, address: zeroAddress }),
    ),
  )
  expect(await stack.clients.publicClient.getCode({ address: eoa.address })).toBeUndefined()
  expect(await account.isDeployed()).toBe(false)

  expect(await outcomeOfCall()).toBe(200)
  const { charged, settled } = await untilJournalled()
  expect(charged).toBeGreaterThan(settled)
  expect(await settleDirectly(charged)).toBe('success')
  expect((await readBooks(stack, shop, budget())).received).toBe(charged)
  await expect.poll(async () => (await readBooks(stack, shop, budget())).settled, soon).toBe(charged)
})

test('and it delegates once more, without ETH, to end what it granted', { timeout }, async () => {
  const { sessionKeyValidator: module } = stack.contracts
  const authorization = await account.signDelegation()
  expect(authorization).toMatchObject({ nonce: 2 })
  const hash = await bundlerClient.sendUserOperation({
    account,
    calls: [revokeAllCall({ module, account: eoa.address })],
    ...(authorization && { authorization }),
  })
  expect((await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })).success).toBe(true)
  await expect.poll(outcomeOfCall, soon).toBe('grant.revoked')
  const { charged } = await readBooks(stack, shop, budget())
  expect(await settleDirectly(charged + priceAtomic)).toBe('reverted')
  expect(await stack.clients.publicClient.getBalance({ address: eoa.address })).toBe(0n)
})

test("other code than ours is sponsored nothing, whatever the EOA's key says", { timeout }, async () => {
  const stranger = privateKeyToAccount(generatePrivateKey())
  const { clients, contracts, bundler, paymaster } = stack
  const elsewhere = await toDelegatedSmartAccount({
    client: clients.publicClient,
    owner: stranger,
    implementation: contracts.streamAccountImplementation,
  })
  const client = createBundlerClient({
    account: elsewhere,
    chain: foundry,
    client: clients.publicClient,
    transport: http(bundler.url),
    paymaster: createPaymasterClient({ transport: http(`${paymaster.url}/rpc?apikey=${stack.operatorApiKey}`) }),
  })
  const authorization = await elsewhere.signDelegation()
  const sending = client.sendUserOperation({
    calls: [revokeAllCall({ module: contracts.sessionKeyValidator, account: stranger.address })],
    ...(authorization && { authorization }),
  })
  await expect(sending).rejects.toThrow(/delegates to .* sponsored is/)
})

function budget() {
  return { terms, grantId }
}

function createAgent(): typeof fetch {
  const { chain, contracts } = stack
  const grant = parseGrant({
    ...{ grantId, account: eoa.address, chainId: chain.chainId, module: contracts.sessionKeyValidator },
    ...{ token: contracts.testUsdc, payees: [shop.payee], totalLimit: terms.totalLimit.toString() },
  })
  return createPayingFetch({ grant, sessionKey })
}

/** Status of one paid call, or the code it was refused with. */
function outcomeOfCall(): Promise<number | string> {
  return agent(`${shop.url}/x`).then(
    ({ status }) => status,
    ({ code }: { code: string }) => code,
  )
}

async function knowsGrant(): Promise<boolean> {
  const { status } = await manage(stack, stack.operatorApiKey, `GET /session-keys/${terms.sessionKey}`)
  return status === 200
}

/** The books, once all that was charged is in the journal. */
async function untilJournalled() {
  await expect
    .poll(async () => {
      const { live, charged } = await readBooks(stack, shop, budget())
      return live === charged
    }, soon)
    .toBe(true)
  return readBooks(stack, shop, budget())
}

/** The operator settles a voucher of this amount with a transaction of its own, as a merchant could. */
async function settleDirectly(amount: bigint): Promise<'success' | 'reverted'> {
  const { clients, contracts, chain } = stack
  const module = contracts.sessionKeyValidator
  const hash = createVoucherHasher({ chainId: chain.chainId, module })
  const voucher = { grantId, payee: shop.payee, cumulativeAmount: amount }
  const { signature } = signVoucher(hash, sessionKey, voucher)
  const claims = packClaims([{ ...voucher, amount, signature, proof: [] }])
  const transaction = await clients.walletClient.writeContract({
    address: module,
    abi: sessionKeyValidatorAbi,
    functionName: 'settle',
    args: [eoa.address, packTerms(terms), claims],
    gas: 500_000n,
  })
  return (await clients.publicClient.waitForTransactionReceipt({ hash: transaction })).status
}

async function sendAuthorization(authorization: SignedAuthorization): Promise<void> {
  const { publicClient, walletClient } = stack.clients
  const hash = await walletClient.sendTransaction({ to: zeroAddress, authorizationList: [authorization] })
  expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
}

/** The address behind EIP-7702's designator, which is what a delegating EOA has for code. */
async function delegateOf({ address }: PrivateKeyAccount): Promise<Hex> {
  const code = await stack.clients.publicClient.getCode({ address })
  expect(code).toMatch(/^0xef0100.{40}$/)
  return concatHex([`0x${code?.slice(8)}`])
}

function balanceOf({ address }: { address: Hex }): Promise<bigint> {
  const { clients, contracts } = stack
  return clients.publicClient.readContract({
    address: contracts.testUsdc,
    abi: testUsdcAbi,
    functionName: 'balanceOf',
    args: [address],
  })
}
