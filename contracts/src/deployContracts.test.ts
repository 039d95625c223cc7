import { type ChildProcess, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { createPublicClient, createWalletClient, http } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DeployClients, DeploymentError, deployContracts, deployTestUsdc } from './deployContracts.ts'
import { deterministicDeployer, planDeployment, planTestUsdc } from './planDeployment.ts'

const owner = privateKeyToAccount(generatePrivateKey()).address
const signer = privateKeyToAccount(generatePrivateKey()).address

let anvil: ChildProcess
let url: string
let clients: DeployClients

beforeAll(async () => {
  const port = await freePort()
  url = `http://127.0.0.1:${port}`
  anvil = spawn(
    fileURLToPath(new URL('../../node_modules/.bin/anvil', import.meta.url)),
    ['--port', String(port), '--silent'],
    { stdio: 'inherit' },
  )
  clients = {
    publicClient: createPublicClient({ chain: foundry, transport: http(url), pollingInterval: 50 }),
    walletClient: createWalletClient({
      chain: foundry,
      transport: http(url),
      // The first of the accounts that anvil funds.
      account: privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'),
    }),
  }
  await ready()
})

afterAll(async () => {
  const exited = new Promise((resolve) => anvil.once('exit', resolve))
  anvil.kill()
  await exited
})

test('contracts land where the plan says, with the paymaster and factory wired up, and a second time changes nothing', async () => {
  const deployment = await deployContracts(clients, { owner, signer })
  expect(deployment).toEqual(planDeployment({ owner, signer }).addresses)
  const { publicClient } = clients
  const paymaster = { address: deployment.sponsorPaymaster, abi: sponsorPaymasterAbi } as const
  expect(await publicClient.readContract({ ...paymaster, functionName: 'owner' })).toBe(owner)
  expect(await publicClient.readContract({ ...paymaster, functionName: 'signer' })).toBe(signer)
  expect(
    await publicClient.readContract({
      address: deployment.streamAccountFactory,
      abi: streamAccountFactoryAbi,
      functionName: 'implementation',
    }),
  ).toBe(deployment.streamAccountImplementation)

  const block = await publicClient.getBlockNumber({ cacheTime: 0 })
  expect(await deployContracts(clients, { owner, signer })).toEqual(deployment)
  expect(await publicClient.getBlockNumber({ cacheTime: 0 })).toBe(block)
})

test('the test token lands where its plan says', async () => {
  const address = await deployTestUsdc(clients)
  expect(address).toBe(planTestUsdc().address)
  expect(await deployTestUsdc(clients)).toBe(address)
})

test('a chain without the deterministic deployer is refused with what to do', async () => {
  const other = privateKeyToAccount(generatePrivateKey()).address
  const code = await clients.publicClient.getCode({ address: deterministicDeployer })
  await setCode('0x')
  try {
    const deployment = deployContracts(clients, { owner: other, signer: other })
    await expect(deployment).rejects.toThrow(DeploymentError)
    await expect(deployment).rejects.toThrow(deterministicDeployer)
  } finally {
    await setCode(code)
  }
})

test('the plan depends on who runs the paymaster, and only the paymaster does', () => {
  const [one, two] = [planDeployment({ owner, signer }), planDeployment({ owner: signer, signer: owner })]
  expect(one.addresses.sponsorPaymaster).not.toBe(two.addresses.sponsorPaymaster)
  expect({ ...one.addresses, sponsorPaymaster: undefined }).toEqual({ ...two.addresses, sponsorPaymaster: undefined })
})

async function setCode(code: string | undefined): Promise<void> {
  await clients.publicClient.request({
    method: 'anvil_setCode' as never,
    params: [deterministicDeployer, code] as never,
  })
}

async function ready(): Promise<void> {
  const deadline = Date.now() + 20_000
  for (;;) {
    try {
      await clients.publicClient.getChainId()
      return
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`anvil did not answer at ${url} within 20 s.`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error(`Not a TCP address: ${address}`)
  return address.port
}
