import {
  type Bundler,
  BundlerError,
  type Call,
  createAdapterResolver,
  createBundler,
  createSponsor,
  encodeSettle,
  freezeCall,
  grantSetupCalls,
  type PreparedUserOperation,
  packUserOperation,
  prepareUserOperation,
  readSettlementOutcome,
  type SettlementOutcome,
  SignatureRefusedError,
  type Sponsor,
  unfreezeCall,
  waitForTransaction,
} from '@protocolbanks/stream-bundler-client'
import { bytecode } from '@protocolbanks/stream-contracts'
import { createChainClients, devAccounts, mintTestUsdc, type Stack, startStack } from '@protocolbanks/stream-dev'
import {
  type Claim,
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  type Hex,
  packClaims,
  packTerms,
  payeeRootOf,
  reserveOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createPayingFetch, parseGrant } from '@protocolbanks/stream-sdk'
import { type Account, type Address, encodeFunctionData, http, parseAbi, parseEther } from 'viem'
import {
  type BundlerClient,
  createBundlerClient,
  createPaymasterClient,
  type SmartAccount,
} from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AccountKind, accountKinds } from './testing/accountKinds.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { settleAll } from './testing/settleAll.ts'

// The whole life of a budget on every kind of account there is an adapter for: through all services, the bundler and the
// EntryPoint of each. The tests of a kind are one story: each goes on where the one before ended.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }
const fundsAtomic = 100_000_000n
const depositAtomic = 20_000_000n
const { guardian, settler } = devAccounts

let stack: Stack
beforeAll(async () => {
  stack = await startStack({ withSafes: true })
}, 240_000)
afterAll(() => stack?.stop(), 240_000)

describe.each(accountKinds)('$title', { timeout }, (kind) => {
  const { adapter } = kind
  const sessionPrivateKey = generatePrivateKey()
  let shop: Shop
  let bundler: Bundler
  let sponsor: Sponsor
  let account: SmartAccount
  let module: Address
  let terms: GrantTerms
  let grantId: Hex
  /** What the payee has got under the grant. */
  let paid = 0n

  beforeAll(async () => {
    const { clients, contracts, operatorApiKey } = stack
    const context = { chainId: stack.chain.chainId, entryPoint: adapter.entryPoint }
    shop = await openShop(stack, `shop-${accountKinds.indexOf(kind)}`)
    bundler = createBundler({ ...context, url: stack.bundler.url, chain: clients.publicClient })
    sponsor = createSponsor({ ...context, url: `${stack.paymaster.url}/rpc`, apiKey: operatorApiKey })
    account = await createAccount(kind, bundler)
    module = contracts.sessionKeyValidator
    await mintTestUsdc(clients, { token: contracts.testUsdc, to: account.address, amountAtomic: fundsAtomic })
    const { timestamp } = await clients.publicClient.getBlock()
    terms = {
      sessionKey: privateKeyToAccount(sessionPrivateKey).address,
      settler: settler.address,
      token: contracts.testUsdc,
      totalLimit: 50_000_000n,
      periodLimit: 0n,
      period: 0,
      validAfter: Number(timestamp) - 60,
      validUntil: Number(timestamp) + 86_400,
      payeeRoot: payeeRootOf([shop.payee]),
      source: 'allowance',
      salt: `0x${'01'.repeat(24)}`,
    }
    grantId = idOf(terms, 0n)
  }, timeout)
  afterAll(() => shop?.stop())

  test('one signature of the owner, and no ether, deploys it, installs the module, approves and grants', async () => {
    const { publicClient } = stack.clients
    expect(await publicClient.getCode({ address: account.address })).toBeUndefined()
    await byOwner(setupCalls())
    expect(await statusOf(grantId)).toBe('active')
    const token = { abi: testUsdcAbi, address: stack.contracts.testUsdc } as const
    const args = [account.address, module] as const
    expect(await publicClient.readContract({ ...token, functionName: 'allowance', args })).toBe(fundsAtomic)
    expect(await publicClient.getBalance({ address: account.address })).toBe(0n)
  })

  test('its adapter is found by what it says of itself on the chain', async () => {
    const resolve = createAdapterResolver({ chain: stack.clients.publicClient })
    const found = await resolve(account.address)
    expect([found.name, found.entryPoint]).toEqual([adapter.name, adapter.entryPoint])
  })

  test('what its owners sign off-chain is its signature (ERC-1271)', async () => {
    const { publicClient } = stack.clients
    const message = `I own ${account.address}`
    const check = { address: account.address, message, signature: await account.signMessage({ message }) }
    expect(await publicClient.verifyMessage(check)).toBe(true)
    expect(await publicClient.verifyMessage({ ...check, message: 'Something else' })).toBe(false)
  })

  test('the gateway serves its agent, and settlement pays the merchant on its EntryPoint', async () => {
    await isMirrored(grantId)
    const agent = createPayingFetch({ grant: agentGrant(), sessionKey: sessionPrivateKey })
    for (let call = 0; call < 3; call++) expect((await agent(`${shop.url}/${call}`)).status).toBe(200)
    paid = 3n * priceAtomic
    const books = await settleAll(stack, shop, { terms, grantId }, paid)
    expect(books).toMatchObject({ live: paid, charged: paid, settled: paid, received: paid })
    const operations = await stack.clients.publicClient.getContractEvents({
      abi: entryPointAbi,
      address: adapter.entryPoint.address,
      eventName: 'UserOperationEvent',
      args: { sender: account.address },
      fromBlock: 0n,
      strict: true,
    })
    // The owner's setup and the settlement.
    expect(operations.map(({ args }) => [adapter.fromNonce(args.nonce).validator === module, args.success])).toEqual([
      [false, true],
      [true, true],
    ])
  })

  test('while its guardian has frozen the grant nothing can be settled; once the owner unfreezes it, the rest is', async () => {
    const prepared = await prepare(paid + 2_000_000n)
    await asGuardian(freezeCall({ module, account: account.address, grantId }))
    await expect(send(prepared)).rejects.toThrow(SignatureRefusedError)
    await expect(settleDirectly(paid + 2_000_000n)).rejects.toThrow('GrantNotLive')
    expect(await received()).toBe(paid)

    await byOwner([unfreezeCall({ module, grantId })])
    expect(await send(prepared)).toMatchObject({ success: true, claims: [{ paid: 2_000_000n }] })
    paid += 2_000_000n
    expect(await received()).toBe(paid)
  })

  test('only the settler and the session key can send a settlement', async () => {
    const stranger = privateKeyToAccount(generatePrivateKey())
    await isMirrored(grantId)
    await expect(send(await prepare(paid + 1_000_000n, stranger))).rejects.toThrow(SignatureRefusedError)
    const sessionKey = privateKeyToAccount(sessionPrivateKey)
    const prepared = await prepare(paid + 1_000_000n, sessionKey)
    expect(await send(prepared)).toMatchObject({ success: true, claims: [{ paid: 1_000_000n }] })
    paid += 1_000_000n
  })

  test('a grant from its prepaid reserve is settled out of the reserve', async () => {
    const prepaid: GrantTerms = { ...terms, source: 'reserve' }
    const reserve = reserveOf(module)
    const token = terms.token
    const shared = { account: account.address, module, guardian: undefined, token, adapter }
    await byOwner(grantSetupCalls({ ...shared, terms: prepaid, reserve, deposit: depositAtomic }))
    const id = idOf(prepaid, 0n)
    await isMirrored(id)
    const before = await received()
    expect(await send(await prepare(5_000_000n, settler.account, prepaid, id), id)).toMatchObject({
      success: true,
      claims: [{ paid: 5_000_000n }],
    })
    expect(await received()).toBe(before + 5_000_000n)
    const [balance] = await stack.clients.publicClient.readContract({
      abi: prepaidReserveAbi,
      address: reserve,
      functionName: 'poolOf',
      args: [account.address, token],
    })
    expect(balance).toBe(depositAtomic - 5_000_000n)
  })

  test('its owner can leave without us, for ether: after the uninstall its vouchers are dead, also when the module is back', async () => {
    const prepared = await prepare(paid + 1_000_000n)
    const others = [await deployOtherModule(), await deployOtherModule()]
    await giveEther()
    const target = { account: account.address, initData: '0x', deInitData: '0x' } as const
    await byOwner(
      others.map((other) => adapter.encodeInstall({ ...target, module: other })),
      'itself',
    )
    await byOwner([await adapter.encodeUninstall(stack.clients.publicClient, { ...target, module })], 'itself')
    expect(await isInstalled(module)).toBe(false)
    for (const other of others) expect(await isInstalled(other)).toBe(true)
    await expect(send(prepared)).rejects.toThrow(BundlerError)
    await expect(settleDirectly(paid + 1_000_000n)).rejects.toThrow('GrantNotLive')

    const before = await received()
    await byOwner(setupCalls())
    // The grant has another id now, which the old voucher does not name.
    expect(await statusOf(idOf(terms, 1n))).toBe('active')
    expect(await settleDirectly(paid + 1_000_000n)).toBe(0n)
    expect(await received()).toBe(before)
  })

  function setupCalls(): Call[] {
    const { testUsdc: token } = stack.contracts
    const target = { account: account.address, module, guardian: guardian.address, token, terms, adapter }
    return grantSetupCalls({ ...target, allowance: fundsAtomic })
  }

  /** `payer`: whose ether pays for the gas. */
  async function byOwner(calls: readonly Call[], payer: 'paymaster' | 'itself' = 'paymaster'): Promise<void> {
    const client = payer === 'paymaster' ? sponsoredClient(account) : plainClient(account)
    const hash = await client.sendUserOperation({ account, calls: [...calls] })
    const { success, reason } = await client.waitForUserOperationReceipt({ hash, timeout: 120_000 })
    expect([success, reason]).toEqual([true, undefined])
  }

  function idOf(of: GrantTerms, epoch: bigint): Hex {
    return grantIdOf({ chainId: stack.chain.chainId, module, account: account.address, epoch }, of)
  }

  function agentGrant() {
    return parseGrant({
      ...{ grantId, account: account.address, chainId: stack.chain.chainId, module, token: terms.token },
      ...{ payees: [shop.payee], totalLimit: terms.totalLimit.toString() },
    })
  }

  /** Until gateway and paymaster know the grant as live. */
  async function isMirrored(id: Hex): Promise<void> {
    const path = `GET /session-keys/${terms.sessionKey}` as const
    const status = async () => {
      const { body } = await manage<{ grants?: { grantId: Hex; status: string }[] }>(stack, stack.operatorApiKey, path)
      return body.grants?.find((grant) => grant.grantId === id)?.status
    }
    await expect.poll(status, soon).toBe('active')
  }

  function claimOf(cumulativeAmount: bigint, id = grantId): Claim {
    const hash = createVoucherHasher({ chainId: stack.chain.chainId, module })
    const voucher = { grantId: id, payee: shop.payee, cumulativeAmount }
    const { signature } = signVoucher(hash, sessionPrivateKey, voucher)
    return { ...voucher, amount: cumulativeAmount, signature, proof: [] }
  }

  function prepare(
    cumulativeAmount: bigint,
    signer: { sign(p: { hash: Hex }): Promise<Hex> } = settler.account,
    of = terms,
    id = grantId,
  ): Promise<PreparedUserOperation> {
    const claims = [claimOf(cumulativeAmount, id)]
    return prepareUserOperation(
      { chain: stack.clients.publicClient, bundler, sponsor },
      {
        chainId: stack.chain.chainId,
        adapter,
        account: account.address,
        validator: module,
        lane: 0,
        callData: encodeSettle({ module, account: account.address, terms: of, claims }),
        sign: (hash) => signer.sign({ hash }),
      },
    )
  }

  async function send(
    { userOperation, userOpHash }: PreparedUserOperation,
    id = grantId,
  ): Promise<SettlementOutcome | undefined> {
    const entryPoint = adapter.entryPoint.address
    const hashed = await stack.clients.publicClient.readContract({
      abi: entryPointAbi,
      address: entryPoint,
      functionName: 'getUserOpHash',
      args: [packUserOperation(userOperation)],
    })
    expect([hashed, await bundler.send(userOperation)]).toEqual([userOpHash, userOpHash])
    const receipt = await waitForTransaction(bundler, userOpHash, { timeoutMs: 120_000, pollMs: 50 })
    return readSettlementOutcome(receipt, { entryPoint, module, userOpHash, account: account.address, grantId: id })
  }

  /** What a payee would get who settles without us. */
  async function settleDirectly(cumulativeAmount: bigint): Promise<bigint> {
    const { result } = await stack.clients.publicClient.simulateContract({
      abi: sessionKeyValidatorAbi,
      address: module,
      functionName: 'settle',
      args: [account.address, packTerms(terms), packClaims([claimOf(cumulativeAmount)])],
    })
    return result
  }

  function received(): Promise<bigint> {
    const token = { abi: testUsdcAbi, address: stack.contracts.testUsdc } as const
    return stack.clients.publicClient.readContract({ ...token, functionName: 'balanceOf', args: [shop.payee] })
  }

  async function statusOf(id: Hex): Promise<string | undefined> {
    const [status] = await stack.clients.publicClient.readContract({
      abi: sessionKeyValidatorAbi,
      address: module,
      functionName: 'grantState',
      args: [account.address, id],
    })
    return ['none', 'active', 'frozen', 'revoked'][status]
  }

  function isInstalled(other: Address): Promise<boolean> {
    return stack.clients.publicClient.readContract({
      abi: parseAbi(['function isModuleInstalled(uint256, address, bytes) view returns (bool)']),
      address: account.address,
      functionName: 'isModuleInstalled',
      args: [1n, other, '0x'],
    })
  }

  async function giveEther(): Promise<void> {
    const { walletClient, publicClient } = stack.clients
    const hash = await walletClient.sendTransaction({ to: account.address, value: parseEther('1') })
    expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
  }
})

test('an account that no adapter is for is served, and its settlement is given up with what it is and what to do', {
  timeout,
}, async () => {
  const { sessionKeyValidator: module, testUsdc: token } = stack.contracts
  // An EOA that calls the module by itself: it has no code that a UserOperation could reach.
  const eoa = devAccounts.owner
  const sessionKey = generatePrivateKey()
  const shop = await openShop(stack, 'shop-of-nobody-we-know')
  try {
    const { timestamp } = await stack.clients.publicClient.getBlock()
    const terms: GrantTerms = {
      sessionKey: privateKeyToAccount(sessionKey).address,
      settler: settler.address,
      token,
      totalLimit: 50_000_000n,
      periodLimit: 0n,
      period: 0,
      validAfter: Number(timestamp) - 60,
      validUntil: Number(timestamp) + 86_400,
      payeeRoot: payeeRootOf([shop.payee]),
      source: 'allowance',
      salt: `0x${'02'.repeat(24)}`,
    }
    await mintTestUsdc(stack.clients, { token, to: eoa.address, amountAtomic: fundsAtomic })
    const install = encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'onInstall', args: ['0x'] })
    const target = { account: eoa.address, module, guardian: undefined, token, terms }
    await byEoa(eoa.account, [
      { to: module, value: 0n, data: install },
      ...grantSetupCalls({ ...target, allowance: fundsAtomic }),
    ])
    const chainId = stack.chain.chainId
    const grantId = grantIdOf({ chainId, module, account: eoa.address, epoch: 0n }, terms)
    const keys = `GET /session-keys/${terms.sessionKey}` as const
    await expect.poll(async () => (await manage(stack, stack.operatorApiKey, keys)).status, soon).toBe(200)
    const agent = createPayingFetch({
      grant: parseGrant({
        ...{ grantId, account: eoa.address, chainId, module, token },
        ...{ payees: [shop.payee], totalLimit: terms.totalLimit.toString() },
      }),
      sessionKey,
    })
    expect((await agent(shop.url)).status).toBe(200)
    const ask = async () => (await manage(stack, shop.apiKey, 'POST /settlements', { grantId })).status
    await expect.poll(ask, soon).toBe(202)
    const list = `GET /settlements?grantId=${grantId}` as const
    const given = async () => {
      const { body } = await manage<{ settlements: { state: string; errorCode: string; errorMessage: string }[] }>(
        stack,
        stack.operatorApiKey,
        list,
      )
      return body.settlements[0]
    }
    await expect.poll(given, soon).toMatchObject({ state: 'dead', errorCode: 'account.unknown' })
    const { errorMessage } = (await given()) ?? {}
    expect(errorMessage).toContain(eoa.address)
    expect(errorMessage).toContain('docs/accounts.md')
  } finally {
    await shop.stop()
  }
})

function createAccount(kind: AccountKind, bundler: Bundler): Promise<SmartAccount> {
  const { clients, contracts, safes } = stack
  if (!safes) throw new Error('The stack has no Safes.')
  const { streamAccountFactory } = contracts
  return kind.create({ client: clients.publicClient, bundler, streamAccountFactory, safe7579: safes.contracts })
}

function sponsoredClient(account: SmartAccount): BundlerClient {
  const url = `${stack.paymaster.url}/rpc?apikey=${stack.operatorApiKey}`
  const paymaster = createPaymasterClient({ transport: http(url, { retryCount: 0 }) })
  return createBundlerClient({ ...clientOptions(account), paymaster }) as BundlerClient
}

function plainClient(account: SmartAccount): BundlerClient {
  return createBundlerClient(clientOptions(account)) as BundlerClient
}

function clientOptions(account: SmartAccount) {
  const { clients, bundler } = stack
  const transport = http(bundler.url)
  return { account, chain: foundry, client: clients.publicClient, transport, pollingInterval: 50 }
}

async function byEoa(account: Account, calls: readonly Call[]): Promise<void> {
  const { walletClient, publicClient } = createChainClients(stack.chain.url, account)
  for (const { to, data } of calls) {
    const hash = await walletClient.sendTransaction({ to, data })
    expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
  }
}

async function asGuardian(call: Call): Promise<void> {
  const { walletClient, publicClient } = createChainClients(stack.chain.url, guardian.account)
  const hash = await walletClient.sendTransaction(call)
  expect((await publicClient.waitForTransactionReceipt({ hash })).status).toBe('success')
}

/** A second deployment of the module: another validator for the account's list. */
async function deployOtherModule(): Promise<Address> {
  const { walletClient, publicClient } = stack.clients
  const hash = await walletClient.deployContract({ abi: [], bytecode: bytecode.sessionKeyValidator })
  const { contractAddress } = await publicClient.waitForTransactionReceipt({ hash })
  if (!contractAddress) throw new Error(`The transaction ${hash} deployed nothing.`)
  return contractAddress
}
