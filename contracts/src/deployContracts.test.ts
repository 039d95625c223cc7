import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DeployClients, DeploymentError, deployContracts, deployTestUsdc } from './deployContracts.ts'
import { deterministicDeployer, planDeployment, planTestUsdc } from './planDeployment.ts'
import { startChain, type TestChain } from './testing/startChain.ts'

const owner = privateKeyToAccount(generatePrivateKey()).address
const signer = privateKeyToAccount(generatePrivateKey()).address

let chain: TestChain
let clients: DeployClients

beforeAll(async () => {
  chain = await startChain()
  clients = chain.clients
})

afterAll(() => chain.stop())

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
