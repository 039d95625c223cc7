import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { type Address, type Hex, isAddress, keccak256, size, slice } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { artifacts } from '../generated/artifacts.ts'
import { type ChainPreset, chainPresets } from './chainPresets.ts'
import { type DeployClients, DeploymentError, deployStep } from './deployContracts.ts'
import { type DeployedContract, type Deployment, DeploymentFileError } from './deployment.ts'
import { deploymentPath, loadDeployment, writeDeployment } from './deploymentFile.ts'
import {
  deterministicDeployer,
  entryPoint07,
  entryPoint08,
  planDeployment,
  planStep,
  planTestUsdc,
} from './planDeployment.ts'
import { planEntryPoint } from './planEntryPoint.ts'
import { DeploymentRefusedError, describePlan, prepareDeployment } from './prepareDeployment.ts'
import { describePaymaster, readRoles, runDeployment } from './runDeployment.ts'
import { serviceEnv } from './serviceEnv.ts'
import { startChain, type TestChain } from './testing/startChain.ts'
import { verifyDeployment } from './verifyDeployment.ts'

const commit = 'a'.repeat(40)
const runOptions = { commit, print: () => {} }
const rolesOfNobody = () => ({
  owner: privateKeyToAccount(generatePrivateKey()).address,
  signer: privateKeyToAccount(generatePrivateKey()).address,
})

let chain: TestChain
let clients: DeployClients
let deployer: Address
let directory: string

beforeAll(async () => {
  chain = await startChain()
  clients = chain.clients
  deployer = clients.walletClient.account.address
})

afterAll(() => chain.stop())

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'stream-deployments-'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

test('a chain gets every contract, and the file says where each is, by which transaction and with which code', async () => {
  const roles = rolesOfNobody()
  const deployment = await deploy({ roles })
  const addresses = Object.entries(deployment.contracts).map(([name, contract]) => [name, contract?.address])
  expect(Object.fromEntries(addresses)).toEqual(planDeployment(roles).addresses)

  const written = await loadDeployment(chainPresets.local.chain.id, directory)
  expect(written).toEqual(deployment)
  expect(written).toMatchObject({
    chain: 'local',
    entryPoint: entryPoint08,
    usdc: planTestUsdc().address,
    initialRoles: roles,
    roles,
    superseded: [],
    sources: { commit },
    compiler: { version: '0.8.30+commit.73712a01', settings: { viaIR: true, evmVersion: 'cancun' } },
  })
  for (const contract of contractsOf(written)) {
    const { publicClient } = clients
    expect(keccak256((await publicClient.getCode({ address: contract.address })) ?? '0x')).toBe(contract.codeHash)
    const { to, blockNumber } = await publicClient.getTransaction({ hash: contract.transaction?.hash ?? '0x' })
    expect(to).toBe(deterministicDeployer)
    expect(Number(blockNumber)).toBe(contract.transaction?.block)
  }
  expect(await readdir(directory)).toEqual([`${chainPresets.local.chain.id}.json`])
})

test('a second run sends nothing and leaves the file as it is, also with other sources', async () => {
  const roles = rolesOfNobody()
  await deploy({ roles })
  const before = await written()
  const block = await clients.publicClient.getBlockNumber({ cacheTime: 0 })
  const prepared = await prepare({})
  const again = await runDeployment(clients, prepared, { ...runOptions, commit: 'b'.repeat(40) })
  expect(await writeDeployment(again, directory)).toBe(false)
  expect(await written()).toBe(before)
  expect(await clients.publicClient.getBlockNumber({ cacheTime: 0 })).toBe(block)
})

test('a file that was lost is written again, with the same transactions', async () => {
  const roles = rolesOfNobody()
  await deploy({ roles })
  const before = await written()
  await rm(deploymentPath(chainPresets.local.chain.id, directory))
  await deploy({ roles })
  expect(await written()).toBe(before)
})

test.each([0, 1, 3])('a run that breaks off after %d transactions goes on where it was', async (count) => {
  const fresh = await startChain()
  try {
    let left = count
    const { walletClient, publicClient } = fresh.clients
    const breaking: DeployClients = {
      publicClient,
      walletClient: {
        ...walletClient,
        sendTransaction: (async (transaction: Parameters<typeof walletClient.sendTransaction>[0]) => {
          if (left === 0) throw new Error('The connection is gone.')
          left -= 1
          return walletClient.sendTransaction(transaction)
        }) as typeof walletClient.sendTransaction,
      },
    }
    const roles = rolesOfNobody()
    const request = { publicClient, preset: chainPresets.local, deployer, directory, roles }
    const first = runDeployment(breaking, await prepareDeployment(request), runOptions)
    await expect(first).rejects.toThrow(DeploymentError)
    expect(await readdir(directory)).toEqual([])

    const prepared = await prepareDeployment(request)
    expect(prepared.steps.filter(({ gas }) => gas === undefined)).toHaveLength(count)
    const deployment = await runDeployment(fresh.clients, prepared, runOptions)
    expect((await verifyDeployment(publicClient, deployment)).problems).toEqual([])
    for (const { transaction } of contractsOf(deployment)) expect(transaction).not.toBeNull()
  } finally {
    await fresh.stop()
  }
})

test.each(Object.keys(planDeployment(rolesOfNobody()).addresses))(
  'code of %s that differs in one byte anywhere, immutables included, is found',
  async (name) => {
    const deployment = await deploy({ roles: rolesOfNobody() })
    const planned = planDeployment(deployment.initialRoles).contracts.find((contract) => contract.name === name)
    if (!planned) throw new Error(`No contract ${name} is planned.`)
    const { address, artifact } = planned
    const code = await existingCode(address)
    const immutables = Object.values(artifacts[artifact].immutables as Record<string, readonly number[]>).flat()
    for (const offset of [0, size(code) - 1, ...immutables.map((start) => start + 31)]) {
      await setCode(address, flip(code, offset))
      const { problems } = await verifyDeployment(clients.publicClient, deployment)
      expect(problems.filter((problem) => problem.startsWith(`${name} ${address}: its code`))).toHaveLength(2)
      await expect(deploy({})).rejects.toThrow(name)
    }
    await setCode(address, '0x')
    const { problems } = await verifyDeployment(clients.publicClient, deployment)
    expect(problems).toContainEqual(expect.stringMatching(`${name} ${address}: it has no code`))
    await setCode(address, code)
    expect(await verifyDeployment(clients.publicClient, deployment)).toEqual({ problems: [], notes: [] })
  },
)

test('a recorded transaction that is in another block, or nowhere, is found', async () => {
  const deployment = await deploy({ roles: rolesOfNobody() })
  const { sessionKeyValidator } = deployment.contracts
  const check = (transaction: { hash: Hex; block: number }) =>
    verifyDeployment(clients.publicClient, {
      ...deployment,
      contracts: { ...deployment.contracts, sessionKeyValidator: { ...sessionKeyValidator, transaction } },
    })
  const { hash, block } = sessionKeyValidator.transaction ?? { hash: '0x', block: 0 }
  expect((await check({ hash, block: block + 1 })).problems).toEqual([expect.stringMatching('reorganised')])
  expect((await check({ hash: keccak256('0x'), block })).problems).toEqual([expect.stringMatching('does not know')])
})

test('a chain other than the named one is refused', async () => {
  const preparing = prepare({ preset: chainPresets.base, roles: rolesOfNobody() })
  await expect(preparing).rejects.toThrow(DeploymentRefusedError)
  await expect(preparing).rejects.toThrow('The RPC answers for chain 31337, base is 8453.')
})

test('a deployer who cannot pay for all of it sends nothing', async () => {
  const poor = privateKeyToAccount(generatePrivateKey())
  await request('anvil_setBalance', [poor.address, '0x1'])
  const block = await clients.publicClient.getBlockNumber({ cacheTime: 0 })
  const prepared = await prepare({ roles: rolesOfNobody(), deployer: poor.address })
  expect(describePlan(prepared)).toMatch(/sponsorPaymaster +0x\w{40} +to deploy, about \d+ gas/)
  const walletClient = { ...clients.walletClient, account: poor }
  const running = runDeployment({ ...clients, walletClient }, prepared, runOptions)
  await expect(running).rejects.toThrow(DeploymentRefusedError)
  await expect(running).rejects.toThrow(poor.address)
  expect(await clients.publicClient.getBlockNumber({ cacheTime: 0 })).toBe(block)
})

test('a chain without the deterministic deployer is refused before anything is sent', async () => {
  const code = await existingCode(deterministicDeployer)
  await setCode(deterministicDeployer, '0x')
  try {
    await expect(prepare({ roles: rolesOfNobody() })).rejects.toThrow(deterministicDeployer)
  } finally {
    await setCode(deterministicDeployer, code)
  }
})

test('roles are needed once, and afterwards only the ones that the address is made of are taken', async () => {
  await expect(prepare({})).rejects.toThrow('--owner and --signer')
  const roles = rolesOfNobody()
  await deploy({ roles })
  await deploy({})
  await deploy({ roles })
  await expect(prepare({ roles: rolesOfNobody() })).rejects.toThrow(roles.owner)
})

test('a replaced signer fails the check until it is recorded, and changes no address', async () => {
  const deployment = await deploy({ roles: { owner: deployer, signer: rolesOfNobody().signer } })
  const { signer } = rolesOfNobody()
  const { address } = deployment.contracts.sponsorPaymaster
  const hash = await clients.walletClient.writeContract({
    address,
    abi: sponsorPaymasterAbi,
    functionName: 'setSigner',
    args: [signer],
  })
  await clients.publicClient.waitForTransactionReceipt({ hash })

  const { problems } = await verifyDeployment(clients.publicClient, deployment)
  expect(problems).toEqual([expect.stringContaining(`signer() is ${signer}`)])
  expect(problems[0]).toContain('--record-roles')
  await expect(deploy({})).rejects.toThrow(signer)

  const recorded = await readRoles(clients.publicClient, deployment)
  await writeDeployment(recorded, directory)
  expect(recorded).toEqual({ ...deployment, roles: { owner: deployer, signer } })
  expect(await deploy({})).toEqual(recorded)
})

test('what new code replaces stays in the file, with the commit it came from', async () => {
  const deployment = await deploy({ roles: rolesOfNobody() })
  const { streamAccountImplementation, streamAccount7702Implementation } = deployment.contracts
  const earlier: Deployment = {
    ...deployment,
    sources: { commit: 'c'.repeat(40) },
    // As if it had been deployed from other code: another contract with the same getter.
    contracts: { ...deployment.contracts, streamAccount7702Implementation: streamAccountImplementation },
  }
  expect(await verifyDeployment(clients.publicClient, earlier)).toEqual({
    problems: [],
    notes: [expect.stringMatching(/streamAccount7702Implementation .* Check out c{40}/)],
  })
  await writeDeployment(earlier, directory)
  const now = await deploy({})
  expect(now).toMatchObject({
    sources: { commit },
    contracts: { streamAccount7702Implementation },
    superseded: [{ ...streamAccountImplementation, name: 'streamAccount7702Implementation', commit: 'c'.repeat(40) }],
  })
  expect(await deploy({})).toEqual(now)
})

test('other code whose getter has another answer, or none, is found', async () => {
  const deployment = await deploy({ roles: rolesOfNobody() })
  const { contracts } = deployment
  const check = async (changes: Partial<Deployment['contracts']>) => {
    const changed = { ...deployment, contracts: { ...contracts, ...changes } }
    return (await verifyDeployment(clients.publicClient, changed)).problems
  }
  const { sponsorPaymaster, streamAccountFactory, streamAccount7702Implementation } = contracts
  expect(await check({ streamAccountFactory: sponsorPaymaster })).toEqual([
    expect.stringContaining('implementation() is no address'),
  ])
  expect(await check({ streamAccountImplementation: streamAccount7702Implementation })).toContainEqual(
    expect.stringMatching(`streamAccountFactory ${streamAccountFactory.address}: .*implementation\\(\\) is`),
  )
})

test('a paymaster for EntryPoint v0.7 is deployed beside the other, and stays when it is not asked for again', async () => {
  const path = createRequire(import.meta.url).resolve('@account-abstraction/contracts-v0.7/artifacts/EntryPoint.json')
  const { bytecode } = JSON.parse(await readFile(path, 'utf8')) as { bytecode: Hex }
  const salt = '0x90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3'
  const roles = rolesOfNobody()
  await expect(prepare({ roles, entryPoint07 })).rejects.toThrow(entryPoint07)
  await deployStep(clients, planStep('entryPoint', bytecode, salt))

  await deploy({ roles })
  const deployment = await deploy({ entryPoint07 })
  const address = deployment.contracts.sponsorPaymaster07?.address
  expect(address).toBe(planDeployment({ ...roles, entryPoint07 }).addresses.sponsorPaymaster07)
  expect(deployment.entryPoint07).toBe(entryPoint07)
  expect(serviceEnv(deployment)).toMatchObject({ ENTRY_POINT_07: entryPoint07, SPONSOR_PAYMASTER_07: address })
  expect(deployment.superseded).toEqual([])
  expect(await deploy({})).toEqual(deployment)
  expect(await describePaymaster(clients.publicClient, deployment)).toEqual([
    expect.stringMatching(/^sponsorPaymaster 0x\w{40}: deposit 0, no stake/),
    `sponsorPaymaster07 ${address}: deposit 0, no stake: strict bundlers refuse it`,
  ])
})

test('two public chains get the same addresses, without an EntryPoint or token of ours', async () => {
  const roles = rolesOfNobody()
  const one = await deployOnPublicChain(chainPresets['polygon-amoy'], roles)
  const two = await deployOnPublicChain(chainPresets['base-sepolia'], roles)
  const addressesOf = (deployment: Deployment) => contractsOf(deployment).map(({ address }) => address)
  expect(addressesOf(one)).toEqual(addressesOf(two))
  expect([one.chainId, two.chainId]).toEqual([80002, 84532])
  // The domain separator in the code is the chain's own.
  expect(one.contracts.sessionKeyValidator.codeHash).not.toBe(two.contracts.sessionKeyValidator.codeHash)
})

test('the presets name tokens by their checksums and every chain once', () => {
  const presets: ChainPreset[] = Object.values(chainPresets)
  for (const { usdc } of presets) if (usdc) expect(isAddress(usdc, { strict: true })).toBe(true)
  expect(new Set(presets.map(({ chain }) => chain.id)).size).toBe(presets.length)
  for (const [name, preset] of Object.entries(chainPresets)) expect(preset.name).toBe(name)
})

test('a file that is missing, no JSON, of another chain or with a wrong field is refused with what is wrong', async () => {
  await expect(loadDeployment(1, directory)).rejects.toThrow('nothing is deployed on this chain')
  const deployment = await deploy({ roles: rolesOfNobody() })
  const path = deploymentPath(1, directory)
  await writeFile(path, '{')
  await expect(loadDeployment(1, directory)).rejects.toThrow(DeploymentFileError)
  await writeFile(path, JSON.stringify(deployment))
  await expect(loadDeployment(1, directory)).rejects.toThrow('chainId: 31337')
  await writeFile(path, JSON.stringify({ ...deployment, usdc: '0x12', more: true }))
  await expect(loadDeployment(1, directory)).rejects.toThrow(/usdc: must be a 20-byte hex address\n.*"more"/)
})

test('the services read a deployment from their environment', async () => {
  const deployment = await deploy({ roles: rolesOfNobody() })
  const { contracts } = deployment
  expect(serviceEnv(deployment)).toEqual({
    CHAIN_ID: '31337',
    ENTRY_POINT: entryPoint08,
    SESSION_MODULE: contracts.sessionKeyValidator.address,
    TOKEN: deployment.usdc,
    SPONSOR_PAYMASTER: contracts.sponsorPaymaster.address,
    ACCOUNT_FACTORY: contracts.streamAccountFactory.address,
    ACCOUNT_DELEGATE: contracts.streamAccount7702Implementation.address,
    START_BLOCK: String(contracts.sessionKeyValidator.transaction?.block),
  })
})

type Changes = Partial<Parameters<typeof prepareDeployment>[0]>

function prepare(changes: Changes) {
  const { publicClient } = clients
  return prepareDeployment({ publicClient, preset: chainPresets.local, deployer, directory, ...changes })
}

async function deploy(changes: Changes): Promise<Deployment> {
  const deployment = await runDeployment(clients, await prepare(changes), runOptions)
  await writeDeployment(deployment, directory)
  return deployment
}

/** On a local chain that has the id of a public one, EntryPoint v0.8, and a token where Circle's is. */
async function deployOnPublicChain(
  preset: ChainPreset & { usdc: Address },
  roles: { owner: Address; signer: Address },
) {
  const its = await startChain(preset.chain)
  try {
    const { publicClient } = its.clients
    // One block at a time is all there is when nobody else sends.
    const request = { publicClient, preset: { ...preset, confirmations: 1 }, deployer, directory, roles }
    await expect(prepareDeployment(request)).rejects.toThrow('EntryPoint v0.8')
    await deployStep(its.clients, await planEntryPoint())
    await expect(prepareDeployment(request)).rejects.toThrow(preset.usdc)
    await deployStep(its.clients, planTestUsdc())
    const code = await publicClient.getCode({ address: planTestUsdc().address })
    await publicClient.request({ method: 'anvil_setCode' as never, params: [preset.usdc, code] as never })
    const deployment = await runDeployment(its.clients, await prepareDeployment(request), runOptions)
    expect(deployment.usdc).toBe(preset.usdc)
    return deployment
  } finally {
    await its.stop()
  }
}

function contractsOf({ contracts }: Deployment): DeployedContract[] {
  return Object.values(contracts).filter((contract) => contract !== undefined)
}

function written(): Promise<string> {
  return readFile(deploymentPath(chainPresets.local.chain.id, directory), 'utf8')
}

async function existingCode(address: Address): Promise<Hex> {
  const code = await clients.publicClient.getCode({ address })
  if (!code) throw new Error(`There is no code at ${address}.`)
  return code
}

/** `code` with another byte at `offset`. */
function flip(code: Hex, offset: number): Hex {
  const byte = Number(slice(code, offset, offset + 1)) ^ 0x01
  const digits = 2 + offset * 2
  return `${code.slice(0, digits)}${byte.toString(16).padStart(2, '0')}${code.slice(digits + 2)}` as Hex
}

function setCode(address: Address, code: Hex): Promise<unknown> {
  return request('anvil_setCode', [address, code])
}

function request(method: string, params: unknown[]): Promise<unknown> {
  return clients.publicClient.request({ method: method as never, params: params as never })
}
