import {
  type Bundler,
  BundlerError,
  type Call,
  createAdapterResolver,
  createBundler,
  ExecutionRevertedError,
  encodeSettle,
  freezeCall,
  grantSetupCalls,
  type PaymasterFields,
  type PreparedUserOperation,
  packUserOperation,
  prepareUserOperation,
  readSettlementOutcome,
  type SettlementOutcome,
  SignatureRefusedError,
  type Sponsor,
  type UserOperation,
  unfreezeCall,
  waitForTransaction,
} from '@protocolbanks/stream-bundler-client'
import { bytecode, deployContracts } from '@protocolbanks/stream-contracts'
import {
  type Anvil,
  type Bundler as BundlerProcess,
  type ChainClients,
  createChainClients,
  type DevContracts,
  deployEntryPoint,
  deploySafe7579,
  devAccounts,
  mintTestUsdc,
  setUpContracts,
  startAnvil,
  startBundler,
} from '@protocolbanks/stream-dev'
import {
  type Claim,
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  type Hex,
  packClaims,
  packTerms,
  payeeRootOf,
  signVoucher,
  toCompactSignature,
} from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { type Address, concatHex, createWalletClient, http, numberToHex, parseAbi, parseEther } from 'viem'
import { type BundlerClient, createBundlerClient, type SmartAccount } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AccountChain, type AccountKind, accountKinds } from './testing/accountKinds.ts'

// The whole life of a budget, on every kind of account there is an adapter for, through the bundler and on its EntryPoint.

const allowance = 100_000_000n
const { guardian, settler } = devAccounts
const chainId = foundry.id

let anvil: Anvil
let bundlerProcess: BundlerProcess
let clients: ChainClients
let contracts: DevContracts
/** By the version of the EntryPoint. */
let paymasters: Record<'0.7' | '0.8', Address>
let chain: Omit<AccountChain, 'bundler'>

beforeAll(async () => {
  anvil = await startAnvil()
  clients = createChainClients(anvil.url, devAccounts.operator.account)
  const entryPoint = await deployEntryPoint(clients)
  const otherEntryPoint = await deployEntryPoint(clients, '0.7')
  contracts = await setUpContracts(clients, entryPoint)
  paymasters = { '0.8': contracts.sponsorPaymaster, '0.7': await setUpPaymaster(otherEntryPoint) }
  const safe7579 = await deploySafe7579(clients)
  chain = { client: clients.publicClient, streamAccountFactory: contracts.streamAccountFactory, safe7579 }
  bundlerProcess = await startBundler({ rpcUrl: anvil.url, entryPoint, otherEntryPoints: [otherEntryPoint] })
}, 120_000)

afterAll(async () => {
  await bundlerProcess?.stop()
  await anvil?.stop()
})

describe.each(accountKinds)('$title', (kind) => {
  const payee = privateKeyToAccount(generatePrivateKey()).address
  const sessionPrivateKey = generatePrivateKey()
  const { adapter } = kind
  let bundler: Bundler
  let owner: { account: SmartAccount; client: BundlerClient }
  let terms: GrantTerms
  let grantId: Hex

  beforeAll(async () => {
    bundler = createBundler({ ...contextOf(kind), url: bundlerProcess.url, chain: clients.publicClient })
    const account = await kind.create({ ...chain, bundler })
    await mintTestUsdc(clients, { token: contracts.testUsdc, to: account.address, amountAtomic: allowance })
    owner = { account, client: bundlerClientOf(kind, account) }
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
      payeeRoot: payeeRootOf([payee]),
      source: 'allowance',
      salt: `0x${'01'.repeat(24)}`,
    }
    grantId = grantIdOf({ chainId, module: contracts.sessionKeyValidator, account: account.address, epoch: 0n }, terms)
  }, 60_000)

  test('one signature of the owner deploys it, installs the module, approves and grants', async () => {
    const { account } = owner
    expect(await clients.publicClient.getCode({ address: account.address })).toBeUndefined()
    await byOwner(
      grantSetupCalls({
        account: account.address,
        module: contracts.sessionKeyValidator,
        guardian: guardian.address,
        token: contracts.testUsdc,
        allowance,
        terms,
      }),
    )
    expect(await statusOf(grantId)).toBe('active')
    const token = { abi: testUsdcAbi, address: contracts.testUsdc } as const
    const args = [account.address, contracts.sessionKeyValidator] as const
    expect(await clients.publicClient.readContract({ ...token, functionName: 'allowance', args })).toBe(allowance)
    expect(await clients.publicClient.getBalance({ address: account.address })).toBe(0n)
  })

  test('its adapter is found by what it says of itself on the chain', async () => {
    const resolve = createAdapterResolver({ chain: clients.publicClient })
    const found = await resolve(owner.account.address)
    expect([found.name, found.entryPoint]).toEqual([adapter.name, adapter.entryPoint])
  })

  test('what its owners sign off-chain is its signature (ERC-1271)', async () => {
    const { account } = owner
    const message = `I own ${account.address}`
    const signature = await account.signMessage({ message })
    const check = { address: account.address, message, signature }
    expect(await clients.publicClient.verifyMessage(check)).toBe(true)
    expect(await clients.publicClient.verifyMessage({ ...check, message: 'Something else' })).toBe(false)
  })

  test('a voucher is settled by a sponsored UserOperation that the settler signs', async () => {
    const outcome = await settle(1_000_000n)
    expect(outcome).toMatchObject({ success: true, claims: [{ payee, paid: 1_000_000n, settled: 1_000_000n }] })
    expect(await received()).toBe(1_000_000n)
  })

  test('while its guardian has frozen the grant nothing can be settled; once the owner unfreezes it, the rest is', async () => {
    const prepared = await prepare(3_000_000n)
    await asGuardian(freezeCall({ module: contracts.sessionKeyValidator, account: owner.account.address, grantId }))
    await expect(send(prepared)).rejects.toThrow(SignatureRefusedError)
    await expect(prepare(3_000_000n)).rejects.toThrow(ExecutionRevertedError)
    await expect(settleDirectly(3_000_000n)).rejects.toThrow('GrantNotLive')
    expect(await received()).toBe(1_000_000n)

    await byOwner([unfreezeCall({ module: contracts.sessionKeyValidator, grantId })])
    expect(await send(prepared)).toMatchObject({ success: true, claims: [{ paid: 2_000_000n }] })
    expect(await received()).toBe(3_000_000n)
  })

  test('only the settler and the session key can send a settlement', async () => {
    const stranger = privateKeyToAccount(generatePrivateKey())
    await expect(settle(4_000_000n, stranger)).rejects.toThrow(SignatureRefusedError)
    const sessionKey = privateKeyToAccount(sessionPrivateKey)
    expect(await settle(4_000_000n, sessionKey)).toMatchObject({ success: true, claims: [{ paid: 1_000_000n }] })
  })

  test('after an uninstall its vouchers are dead, also when the module comes back with the same terms', async () => {
    const { account } = owner
    const module = contracts.sessionKeyValidator
    const others = [await deployOtherModule(), await deployOtherModule()]
    const initData = '0x' as const
    await byOwner(others.map((other) => adapter.encodeInstall({ account: account.address, module: other, initData })))
    const prepared = await prepare(5_000_000n)
    await byOwner([
      await adapter.encodeUninstall(clients.publicClient, { account: account.address, module, deInitData: '0x' }),
    ])
    expect(await isInstalled(module)).toBe(false)
    for (const other of others) expect(await isInstalled(other)).toBe(true)
    await expect(send(prepared)).rejects.toThrow(BundlerError)
    await expect(prepare(5_000_000n)).rejects.toThrow(BundlerError)
    await expect(settleDirectly(5_000_000n)).rejects.toThrow('GrantNotLive')

    await byOwner(
      grantSetupCalls({
        account: account.address,
        module,
        guardian: guardian.address,
        token: contracts.testUsdc,
        allowance,
        terms,
      }),
    )
    // The grant has another id now, which the old voucher does not name.
    const id = grantIdOf({ chainId, module, account: account.address, epoch: 1n }, terms)
    expect(await send(await prepare(5_000_000n), id)).toMatchObject({
      success: true,
      claims: [{ paid: 0n, skippedReason: 'InvalidSignature' }],
    })
    expect(await received()).toBe(4_000_000n)
  })

  async function byOwner(calls: readonly Call[]): Promise<void> {
    const { account, client } = owner
    const hash = await client.sendUserOperation({ account, calls: [...calls] })
    const { success, reason } = await client.waitForUserOperationReceipt({ hash, timeout: 20_000 })
    expect([success, reason]).toEqual([true, undefined])
  }

  function claimOf(cumulativeAmount: bigint): Claim {
    const hash = createVoucherHasher({ chainId, module: contracts.sessionKeyValidator })
    const { signature } = signVoucher(hash, sessionPrivateKey, { grantId, payee, cumulativeAmount })
    return { payee, amount: cumulativeAmount, cumulativeAmount, signature, proof: [] }
  }

  function prepare(
    cumulativeAmount: bigint,
    signer: { sign(p: { hash: Hex }): Promise<Hex> } = settler.account,
  ): Promise<PreparedUserOperation> {
    const account = owner.account.address
    const module = contracts.sessionKeyValidator
    const claims = [claimOf(cumulativeAmount)]
    return prepareUserOperation(
      { chain: clients.publicClient, bundler, sponsor: sponsorOf(kind) },
      {
        chainId,
        adapter,
        account,
        validator: module,
        lane: 0,
        callData: encodeSettle({ module, account, terms, claims }),
        sign: (hash) => signer.sign({ hash }),
      },
    )
  }

  async function send(
    { userOperation, userOpHash }: PreparedUserOperation,
    id = grantId,
  ): Promise<SettlementOutcome | undefined> {
    const entryPoint = adapter.entryPoint.address
    const hashed = await clients.publicClient.readContract({
      abi: entryPointAbi,
      address: entryPoint,
      functionName: 'getUserOpHash',
      args: [packUserOperation(userOperation)],
    })
    expect([hashed, await bundler.send(userOperation)]).toEqual([userOpHash, userOpHash])
    const receipt = await waitForTransaction(bundler, userOpHash, { timeoutMs: 20_000, pollMs: 50 })
    const { sender: account } = userOperation
    const module = contracts.sessionKeyValidator
    return readSettlementOutcome(receipt, { entryPoint, module, userOpHash, account, grantId: id })
  }

  async function settle(...parameters: Parameters<typeof prepare>): Promise<SettlementOutcome | undefined> {
    return send(await prepare(...parameters))
  }

  /** As a payee does who does not need us. */
  async function settleDirectly(cumulativeAmount: bigint): Promise<void> {
    await clients.publicClient.simulateContract({
      abi: sessionKeyValidatorAbi,
      address: contracts.sessionKeyValidator,
      functionName: 'settle',
      args: [owner.account.address, packTerms(terms), packClaims([claimOf(cumulativeAmount)])],
    })
  }

  function received(): Promise<bigint> {
    const token = { abi: testUsdcAbi, address: contracts.testUsdc } as const
    return clients.publicClient.readContract({ ...token, functionName: 'balanceOf', args: [payee] })
  }

  async function statusOf(id: Hex): Promise<string | undefined> {
    const [status] = await clients.publicClient.readContract({
      abi: sessionKeyValidatorAbi,
      address: contracts.sessionKeyValidator,
      functionName: 'grantState',
      args: [owner.account.address, id],
    })
    return ['none', 'active', 'frozen', 'revoked'][status]
  }

  function isInstalled(module: Address): Promise<boolean> {
    return clients.publicClient.readContract({
      abi: parseAbi(['function isModuleInstalled(uint256, address, bytes) view returns (bool)']),
      address: owner.account.address,
      functionName: 'isModuleInstalled',
      args: [1n, module, '0x'],
    })
  }
})

function contextOf({ adapter }: AccountKind) {
  return { chainId, entryPoint: adapter.entryPoint }
}

/** A SponsorPaymaster of our own on this EntryPoint, with a deposit and a stake. */
async function setUpPaymaster(entryPoint: Address): Promise<Address> {
  const { sponsorPaymaster: address } = await deployContracts(clients, {
    owner: devAccounts.operator.address,
    signer: devAccounts.paymasterSigner.address,
    entryPoint,
  })
  const contract = { abi: sponsorPaymasterAbi, address } as const
  for (const hash of [
    await clients.walletClient.writeContract({ ...contract, functionName: 'deposit', value: parseEther('10') }),
    await clients.walletClient.writeContract({
      ...contract,
      functionName: 'addStake',
      args: [86_400],
      value: parseEther('1'),
    }),
  ]) {
    await clients.publicClient.waitForTransactionReceipt({ hash })
  }
  return address
}

/** The owner's operations go through viem, the settler's through prepareUserOperation: the same paymaster for both. */
function bundlerClientOf(kind: AccountKind, account: SmartAccount): BundlerClient {
  const sponsor = sponsorOf(kind)
  return createBundlerClient({
    account,
    chain: foundry,
    client: clients.publicClient,
    transport: http(bundlerProcess.url),
    paymaster: {
      getPaymasterStubData: (op) => sponsor.stub(op as unknown as UserOperation),
      getPaymasterData: (op) => sponsor.sponsor(op as unknown as UserOperation),
    },
    pollingInterval: 50,
  }) as BundlerClient
}

function sponsorOf({ adapter }: AccountKind): Sponsor {
  const paymaster = paymasters[adapter.entryPoint.version]
  const gas = { paymasterVerificationGasLimit: 60_000n, paymasterPostOpGasLimit: 0n }
  const window = concatHex([numberToHex(2 ** 47, { size: 6 }), numberToHex(0, { size: 6 })])
  async function sponsor(op: UserOperation): Promise<PaymasterFields> {
    const packed = packUserOperation({ ...op, ...gas, paymaster, paymasterData: '0x', signature: '0x' })
    const hash = await clients.publicClient.readContract({
      abi: sponsorPaymasterAbi,
      address: paymaster,
      functionName: 'hashSponsoredUserOperation',
      args: [packed, 2 ** 47, 0],
    })
    const signature = toCompactSignature(await devAccounts.paymasterSigner.account.sign({ hash }))
    return { ...gas, paymaster, paymasterData: concatHex([window, signature]) }
  }
  return { stub: sponsor, sponsor }
}

async function asGuardian(call: Call): Promise<void> {
  const wallet = createWalletClient({ account: guardian.account, chain: foundry, transport: http(anvil.url) })
  const hash = await wallet.sendTransaction(call)
  const { status } = await clients.publicClient.waitForTransactionReceipt({ hash })
  expect(status).toBe('success')
}

/** A second deployment of the module: another validator for the account's list. */
async function deployOtherModule(): Promise<Address> {
  const hash = await clients.walletClient.deployContract({ abi: [], bytecode: bytecode.sessionKeyValidator })
  const { contractAddress } = await clients.publicClient.waitForTransactionReceipt({ hash })
  if (!contractAddress) throw new Error(`The transaction ${hash} deployed nothing.`)
  return contractAddress
}
