import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { type Address, concatHex, encodeFunctionData, http, numberToHex, parseEther, zeroHash } from 'viem'
import {
  createBundlerClient,
  entryPoint08Abi,
  getUserOperationHash,
  type UserOperation,
} from 'viem/account-abstraction'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Anvil, devChainId, startAnvil } from './anvil.ts'
import { type Bundler, startBundler } from './bundler.ts'
import { type ChainClients, createChainClients } from './chainClients.ts'
import { type DevContracts, mintTestUsdc, setUpContracts } from './contracts.ts'
import { devAccounts } from './devAccounts.ts'
import { deployEntryPoint } from './entryPoint.ts'

let anvil: Anvil
let bundler: Bundler
let clients: ChainClients
let entryPoint: Address
let contracts: DevContracts

beforeAll(async () => {
  anvil = await startAnvil()
  clients = createChainClients(anvil.url, devAccounts.operator.account)
  entryPoint = await deployEntryPoint(clients)
  ;[bundler, contracts] = await Promise.all([
    startBundler({ rpcUrl: anvil.url, entryPoint }),
    setUpContracts(clients, entryPoint),
  ])
})

afterAll(async () => {
  await bundler?.stop()
  await anvil?.stop()
})

test('the owner of a StreamAccount deploys it and pays somebody with one UserOperation through the bundler', async () => {
  const { publicClient } = clients
  const { owner, payee } = devAccounts
  const bundlerClient = createBundlerClient({ chain: foundry, transport: http(bundler.url), pollingInterval: 50 })
  const factory = { address: contracts.streamAccountFactory, abi: streamAccountFactoryAbi } as const
  const sender = await publicClient.readContract({
    ...factory,
    functionName: 'getAddress',
    args: [owner.address, zeroHash],
  })
  const token = { address: contracts.testUsdc, abi: testUsdcAbi } as const
  await mintTestUsdc(clients, { token: token.address, to: sender, amountAtomic: 5_000_000n })
  const funding = await clients.walletClient.sendTransaction({ to: sender, value: parseEther('1') })
  await publicClient.waitForTransactionReceipt({ hash: funding })

  const pay = encodeFunctionData({ ...token, functionName: 'transfer', args: [payee.address, 2_000_000n] })
  const fees = await publicClient.estimateFeesPerGas()
  const unsigned = {
    sender,
    nonce: 0n,
    factory: contracts.streamAccountFactory,
    factoryData: encodeFunctionData({ ...factory, functionName: 'createAccount', args: [owner.address, zeroHash] }),
    callData: encodeFunctionData({
      abi: streamAccountAbi,
      functionName: 'execute',
      args: [zeroHash, concatHex([token.address, numberToHex(0, { size: 32 }), pay])],
    }),
    maxFeePerGas: fees.maxFeePerGas * 2n,
    maxPriorityFeePerGas: fees.maxPriorityFeePerGas,
  }
  const sign = (op: Omit<UserOperation<'0.8'>, 'signature'>) =>
    owner.account.sign({
      hash: getUserOperationHash({
        chainId: devChainId,
        entryPointAddress: entryPoint,
        entryPointVersion: '0.8',
        userOperation: { ...op, signature: '0x' },
      }),
    })
  const noGas = { callGasLimit: 0n, verificationGasLimit: 0n, preVerificationGas: 0n }
  const gas = await bundlerClient.estimateUserOperationGas({
    ...unsigned,
    entryPointAddress: entryPoint,
    signature: await sign({ ...unsigned, ...noGas }),
  })
  const op = {
    ...unsigned,
    callGasLimit: gas.callGasLimit,
    verificationGasLimit: gas.verificationGasLimit,
    preVerificationGas: gas.preVerificationGas,
  }
  const hash = await bundlerClient.sendUserOperation({
    ...op,
    entryPointAddress: entryPoint,
    signature: await sign(op),
  })
  const { success } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 120_000 })

  expect(success).toBe(true)
  expect(await publicClient.readContract({ ...token, functionName: 'balanceOf', args: [payee.address] })).toBe(
    2_000_000n,
  )
})

test('the paymaster has a deposit and a stake, and our signer', async () => {
  const { publicClient } = clients
  const info = await publicClient.readContract({
    address: entryPoint,
    abi: entryPoint08Abi,
    functionName: 'getDepositInfo',
    args: [contracts.sponsorPaymaster],
  })
  expect(info).toMatchObject({ deposit: parseEther('100'), staked: true, stake: parseEther('1') })
  const signer = await publicClient.readContract({
    address: contracts.sponsorPaymaster,
    abi: sponsorPaymasterAbi,
    functionName: 'signer',
  })
  expect(signer).toBe(devAccounts.paymasterSigner.address)
})

test('setting up a second time deploys nothing and finds the same addresses', async () => {
  expect(await deployEntryPoint(clients)).toBe(entryPoint)
  expect(await setUpContracts(clients, entryPoint)).toEqual(contracts)
})

test('with a block time, blocks come by themselves', async () => {
  const chain = await startAnvil({ blockTimeSeconds: 1 })
  try {
    const { publicClient } = createChainClients(chain.url, devAccounts.operator.account)
    const first = await publicClient.getBlockNumber()
    await expect.poll(() => publicClient.getBlockNumber(), { timeout: 60_000 }).toBeGreaterThan(first)
  } finally {
    await chain.stop()
  }
})
