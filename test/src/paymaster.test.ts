import {
  createBundler,
  dummySignature,
  encodeExecute,
  freezeCall,
  grantSetupCalls,
  hashUserOperation,
  packUserOperation,
  setGuardianCall,
  type UserOperation,
  unfreezeCall,
  waitForTransaction,
} from '@protocolbanks/stream-bundler-client'
import { createMerchant, getSponsorship, issueApiKey, setGasBudget } from '@protocolbanks/stream-db'
import { devAccounts } from '@protocolbanks/stream-dev'
import { type Address, type Hex, payeeRootOf } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { createSmartAccountClient } from 'permissionless'
import { createPimlicoClient } from 'permissionless/clients/pimlico'
import { concatHex, getAddress, hexToBytes, http, numberToHex, recoverAddress, slice } from 'viem'
import { createPaymasterClient } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createCuttable } from './testing/cuttable.ts'
import {
  createOwner,
  grantBudget,
  predictedAddress,
  type SponsoredChain,
  startPaymaster,
  startSponsoredChain,
} from './testing/sponsoredChain.ts'

// The paymaster as a process of its own, with clients that know nothing of it, on a chain with a bundler.

let sponsored: SponsoredChain
const payee = getAddress(`0x${'a1'.repeat(20)}`)

beforeAll(async () => {
  sponsored = await startSponsoredChain(inject('postgresUrl'))
}, 240_000)
afterAll(() => sponsored?.stop())

const module = () => sponsored.contracts.sessionKeyValidator
const statusOf = async (account: Address, grantId: Hex) => {
  const { publicClient } = sponsored.clients
  const abi = sessionKeyValidatorAbi
  return (
    await publicClient.readContract({ abi, address: module(), functionName: 'grantState', args: [account, grantId] })
  )[0]
}

test("viem's bundler and paymaster clients deploy, install, approve and grant with one signature and no ether", async () => {
  const person = await createOwner(sponsored)
  const { account } = person
  const { grantId } = await grantBudget(sponsored, person, { payees: [payee] })
  expect(await account.isDeployed()).toBe(true)
  expect(await statusOf(account.address, grantId)).toBe(1)
  expect(await sponsored.clients.publicClient.getBalance({ address: account.address })).toBe(0n)

  // A second grant, on the account as it is now.
  const second = await grantBudget(sponsored, person, { payees: [payee] })
  expect(await statusOf(account.address, second.grantId)).toBe(1)
})

test("permissionless' smart account and Pimlico clients freeze and unfreeze through it", async () => {
  const { account, ...person } = await createOwner(sponsored)
  const { grantId } = await grantBudget(sponsored, { account, ...person }, { payees: [payee] })
  const pimlico = createPimlicoClient({
    transport: http(`${sponsored.paymaster.url}?apikey=${sponsored.operatorApiKey}`),
    entryPoint: { address: sponsored.entryPoint, version: '0.8' },
  })
  const client = createSmartAccountClient({
    account,
    chain: sponsored.chain,
    client: sponsored.clients.publicClient,
    bundlerTransport: http(sponsored.bundler.url),
    paymaster: pimlico,
  })
  const send = async (calls: ReturnType<typeof freezeCall>[]) => {
    const hash = await client.sendUserOperation({ calls })
    return client.waitForUserOperationReceipt({ hash, timeout: 120_000, pollingInterval: 50 })
  }
  expect((await send([freezeCall({ module: module(), account: account.address, grantId })])).success).toBe(true)
  expect(await statusOf(account.address, grantId)).toBe(2)
  const guardian = privateKeyToAccount(generatePrivateKey()).address
  const calls = [unfreezeCall({ module: module(), grantId }), setGuardianCall({ module: module(), guardian })]
  expect((await send(calls)).success).toBe(true)
  expect(await statusOf(account.address, grantId)).toBe(1)
})

test("Pimlico's sponsorUserOperation gives gas limits and sponsorship in one call, and the bundler takes it", async () => {
  const person = await createOwner(sponsored)
  const { grantId } = await grantBudget(sponsored, person, { payees: [payee] })
  const { account, owner } = person
  const pimlico = createPimlicoClient({
    transport: http(`${sponsored.paymaster.url}?apikey=${sponsored.operatorApiKey}`),
    entryPoint: { address: sponsored.entryPoint, version: '0.8' },
  })
  const fees = await sponsored.clients.publicClient.estimateFeesPerGas()
  const bare = {
    sender: account.address,
    nonce: await account.getNonce(),
    callData: encodeExecute([freezeCall({ module: module(), account: account.address, grantId })]),
    maxFeePerGas: 2n * fees.maxFeePerGas,
    maxPriorityFeePerGas: 2n * fees.maxPriorityFeePerGas,
    signature: dummySignature,
  }
  // Pimlico's types know EntryPoint v0.7 at most; the fields are the same.
  const fields = (await pimlico.sponsorUserOperation({ userOperation: bare as never })) as Partial<UserOperation>
  const op = { ...bare, ...fields } as UserOperation
  const entryPoint = { version: '0.8', address: sponsored.entryPoint } as const
  const userOpHash = hashUserOperation({ chainId: 31_337, entryPoint }, op)
  const bundler = createBundler({
    url: sponsored.bundler.url,
    chainId: 31_337,
    entryPoint,
    chain: sponsored.clients.publicClient,
  })
  expect(await bundler.send({ ...op, signature: await owner.sign({ hash: userOpHash }) })).toBe(userOpHash)
  await waitForTransaction(bundler, userOpHash, { timeoutMs: 120_000, pollMs: 50 })
  expect(await statusOf(account.address, grantId)).toBe(2)
})

test('what is signed, hashed and predicted here is what the contracts compute', async () => {
  const { publicClient } = sponsored.clients
  const { account, owner } = await createOwner(sponsored)
  const factoryArgs = await account.getFactoryArgs()
  const bare: UserOperation = {
    sender: account.address,
    nonce: 5n << 64n,
    factory: factoryArgs.factory,
    factoryData: factoryArgs.factoryData,
    callData: encodeExecute(setupCalls(account.address)),
    callGasLimit: 400_001n,
    verificationGasLimit: 600_002n,
    preVerificationGas: 70_003n,
    maxFeePerGas: 4_000_000_004n,
    maxPriorityFeePerGas: 1_000_000_005n,
    signature: dummySignature,
  }
  const paymasterClient = createPaymasterClient({
    transport: http(sponsored.paymaster.url, {
      fetchOptions: { headers: { authorization: `Bearer ${sponsored.operatorApiKey}` } },
    }),
  })
  const fields = await paymasterClient.getPaymasterData({
    ...(bare as object as Parameters<typeof paymasterClient.getPaymasterData>[0]),
    chainId: 31_337,
    entryPointAddress: sponsored.entryPoint,
  })
  const op = { ...bare, ...fields } as UserOperation
  const data = op.paymasterData ?? '0x'
  expect(hexToBytes(data)).toHaveLength(76)
  const window = [Number(slice(data, 0, 6)), Number(slice(data, 6, 12))] as const
  const digest = await publicClient.readContract({
    abi: sponsorPaymasterAbi,
    address: sponsored.contracts.sponsorPaymaster,
    functionName: 'hashSponsoredUserOperation',
    args: [packUserOperation(op), ...window],
  })
  const yParityAndS = BigInt(slice(data, 44, 76))
  const signature = concatHex([
    slice(data, 12, 44),
    numberToHex(yParityAndS & (2n ** 255n - 1n), { size: 32 }),
    yParityAndS >> 255n ? '0x1c' : '0x1b',
  ])
  expect(await recoverAddress({ hash: digest, signature })).toBe(devAccounts.paymasterSigner.address)
  expect(window[0]).toBeGreaterThan(Date.now() / 1_000)

  const entryPoint = { version: '0.8', address: sponsored.entryPoint } as const
  expect(hashUserOperation({ chainId: 31_337, entryPoint }, op)).toBe(
    await publicClient.readContract({
      abi: entryPointAbi,
      address: sponsored.entryPoint,
      functionName: 'getUserOpHash',
      args: [packUserOperation(op)],
    }),
  )
  expect(predictedAddress(sponsored.contracts, owner.address, `0x${'00'.repeat(32)}`)).toBe(account.address)
})

test("the owner's signatures of messages and typed data are valid for the account (ERC-1271, ERC-7739)", async () => {
  const person = await createOwner(sponsored)
  await grantBudget(sponsored, person, { payees: [payee] })
  const { account } = person
  const { publicClient } = sponsored.clients
  const message = 'I agree.'
  const signature = await account.signMessage({ message })
  expect(await publicClient.verifyMessage({ address: account.address, message, signature })).toBe(true)
  const typedData = {
    domain: { name: 'App', version: '1', chainId: 31_337, verifyingContract: payee },
    types: { Order: [{ name: 'amount', type: 'uint256' }] },
    primaryType: 'Order',
    message: { amount: 7n },
  } as const
  const typedSignature = await account.signTypedData(typedData)
  expect(
    await publicClient.verifyTypedData({ address: account.address, ...typedData, signature: typedSignature }),
  ).toBe(true)
})

test('what is none of the sponsored kinds is refused with the rule and the values', async () => {
  const { account } = await createOwner(sponsored)
  const callData = encodeExecute([{ to: payee, value: 1n, data: '0x' }])
  const refused = await rpc('pm_getPaymasterStubData', [
    { ...bareOperation(account.address), callData },
    sponsored.entryPoint,
    '0x7a69',
  ])
  expect(refused.error).toMatchObject({ code: -32_011, data: { code: 'sponsor.call_not_sponsored', retryable: false } })
  expect(refused.error?.message).toContain(payee)
  const elsewhere = await rpc('pm_getPaymasterStubData', [bareOperation(account.address), sponsored.entryPoint, '0x1'])
  expect(elsewhere.error).toMatchObject({ data: { code: 'sponsor.wrong_chain' } })
  const otherEntryPoint = await rpc('pm_getPaymasterStubData', [bareOperation(account.address), payee, '0x7a69'])
  expect(otherEntryPoint.error).toMatchObject({ data: { code: 'sponsor.wrong_entry_point' } })
})

test('without a key nobody is sponsored', async () => {
  const answer = await fetch(sponsored.paymaster.url, { method: 'POST', body: '{}' })
  expect(answer.status).toBe(401)
  expect(await answer.json()).toMatchObject({ error: { code: -32_010, data: { code: 'sponsor.unauthorized' } } })
})

test("a merchant's gas budget is reserved before the signature, booked from the chain, and ends with what is left and when it resets", async () => {
  const { db } = sponsored.database
  const merchant = await createMerchant(db, {
    name: 'Weather',
    payee: privateKeyToAccount(generatePrivateKey()).address,
  })
  const { key } = await issueApiKey(db, { merchantId: merchant.id, name: 'gas' })
  const person = await createOwner(sponsored, { apiKey: key })
  await grantBudget(sponsored, person, { payees: [payee] })
  const [booked] = await expect
    .poll(async () => sharesOf(merchant.id), { timeout: 120_000 })
    .toMatchObject([{ actual: expect.stringMatching(/^[1-9]/) }])
    .then(() => sharesOf(merchant.id))
  if (!booked) throw new Error('nothing was booked')
  const sponsorship = await getSponsorship(db, booked.hash)
  expect(sponsorship).toMatchObject({ state: 'spent', kind: 'grant', sender: person.account.address })
  expect(sponsorship?.actualCostWei).toBeLessThan(sponsorship?.maxCostWei ?? 0n)

  await setGasBudget(db, merchant.id, BigInt(booked.actual) + 1n)
  const failure = await grantBudget(sponsored, person, { payees: [payee] }).catch((error: Error) => error)
  expect(failure).toBeInstanceOf(Error)
  expect(String(failure)).toContain('wei left for gas today')
  expect(String(failure)).toMatch(/resets at \d{4}-\d\d-\d\dT00:00:00.000Z/)
  expect(await sharesOf(merchant.id)).toHaveLength(1)
})

test('what was included while the paymaster was down is booked when it is up again', async () => {
  const { db } = sponsored.database
  const payeeOfMerchant = privateKeyToAccount(generatePrivateKey()).address
  const merchant = await createMerchant(db, { name: 'Weather', payee: payeeOfMerchant })
  const { key } = await issueApiKey(db, { merchantId: merchant.id, name: 'gas' })
  const { account, bundlerClient } = await createOwner(sponsored, { apiKey: key })
  const calls = setupCalls(account.address)
  const prepared = await bundlerClient.prepareUserOperation({ account, calls })
  const signature = await account.signUserOperation(prepared as never)
  const port = Number(new URL(sponsored.paymaster.url).port)
  await sponsored.paymaster.stop()
  const op = { ...prepared, signature } as UserOperation
  const bundler = createBundler({
    url: sponsored.bundler.url,
    chainId: 31_337,
    entryPoint: { version: '0.8', address: sponsored.entryPoint },
    chain: sponsored.clients.publicClient,
  })
  const userOpHash = await bundler.send(op)
  await waitForTransaction(bundler, userOpHash, { timeoutMs: 120_000, pollMs: 50 })
  expect(await getSponsorship(db, userOpHash)).toMatchObject({ state: 'reserved' })
  sponsored.paymaster = await startPaymaster(sponsored, { port })
  await expect.poll(() => getSponsorship(db, userOpHash), { timeout: 120_000 }).toMatchObject({ state: 'spent' })
}, 480_000)

test('without its database it says so and is not ready; health stays, and it goes on by itself afterwards', async () => {
  const way = await createCuttable(sponsored.database.url)
  const paymaster = await startPaymaster(sponsored, { env: { DATABASE_URL: way.url } })
  try {
    await way.cut()
    const ask = () =>
      fetch(`${paymaster.url}?apikey=pb_${'a'.repeat(43)}`, { method: 'POST', body: '{}' }).then((answer) =>
        answer.json(),
      )
    expect(await ask()).toMatchObject({
      error: { code: -32_013, data: { code: 'sponsor.unavailable', retryable: true } },
    })
    expect((await fetch(`${paymaster.url}/ready`)).status).toBe(503)
    expect((await fetch(`${paymaster.url}/health`)).status).toBe(200)
    await way.mend()
    await expect.poll(ask).toMatchObject({ error: { code: -32_010 } })
    await expect.poll(async () => (await fetch(`${paymaster.url}/ready`)).status, { timeout: 120_000 }).toBe(200)
    paymaster.process.signal('SIGTERM')
    expect(await paymaster.process.exited).toEqual({ code: 0, signal: null })
  } finally {
    await paymaster.stop()
    await way.close()
  }
}, 480_000)

async function sharesOf(merchantId: string): Promise<{ hash: Hex; actual: string }[]> {
  return sponsored.database.query(
    'select user_op_hash as hash, actual_cost_wei::text as actual from sponsorship_share where merchant_id = $1',
    [merchantId],
  )
}

function setupCalls(account: Address) {
  return grantSetupCalls({
    account,
    module: module(),
    guardian: devAccounts.guardian.address,
    token: sponsored.contracts.testUsdc,
    allowance: 1n,
    terms: {
      sessionKey: devAccounts.agent.address,
      settler: devAccounts.settler.address,
      token: sponsored.contracts.testUsdc,
      totalLimit: 1n,
      periodLimit: 0n,
      period: 0,
      validAfter: 0,
      validUntil: 4_000_000_000,
      payeeRoot: payeeRootOf([payee]),
      source: 'allowance',
      salt: `0x${'00'.repeat(24)}`,
    },
  })
}

function bareOperation(sender: Address) {
  return { sender, nonce: '0x0', callData: '0x' as Hex, maxFeePerGas: '0x1', maxPriorityFeePerGas: '0x1' }
}

async function rpc(method: string, params: unknown[]) {
  const answer = await fetch(sponsored.paymaster.url, {
    method: 'POST',
    headers: { authorization: `Bearer ${sponsored.operatorApiKey}` },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  })
  return (await answer.json()) as { result?: unknown; error?: { code: number; message: string; data?: unknown } }
}
