import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { polygonAmoy } from 'viem/chains'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { chainPresets } from './chainPresets.ts'
import type { Deployment } from './deployment.ts'
import { planDeployment } from './planDeployment.ts'
import { prepareDeployment } from './prepareDeployment.ts'
import { runDeployment } from './runDeployment.ts'
import { startChain, type TestChain } from './testing/startChain.ts'
import { startVerifier, type TestVerifier } from './testing/startVerifier.ts'
import { SourceVerificationError, type Verifier, verifySources } from './verifySources.ts'

const roles = {
  owner: privateKeyToAccount(generatePrivateKey()).address,
  signer: privateKeyToAccount(generatePrivateKey()).address,
}

const etherscanKey = 'key-for-etherscan'

let chain: TestChain
let verifier: TestVerifier
let deployment: Deployment

beforeAll(async () => {
  // Forge asks Etherscan about chains that it knows.
  const preset = { ...chainPresets.local, chain: polygonAmoy }
  chain = await startChain(preset.chain)
  const { publicClient, walletClient } = chain.clients
  const directory = await mkdtemp(join(tmpdir(), 'stream-deployments-'))
  const deployer = walletClient.account.address
  const prepared = await prepareDeployment({ publicClient, preset, deployer, directory, roles })
  deployment = await runDeployment(chain.clients, prepared, { commit: null, print: () => {} })
  await rm(directory, { recursive: true })
})

afterAll(() => chain.stop())

beforeEach(async () => {
  verifier = await startVerifier(chain.clients.publicClient)
})

afterEach(() => verifier.stop())

// Of these three only, to be quick. `npm run abi:check` compiles every contract from the input that a verifier gets, and
// the reserve stands for the module, whose creation code has the reserve's in it.
const { sponsorPaymaster, streamAccountFactory, prepaidReserve } = planDeployment(roles).addresses

test('a verifier that compiles what it is sent gets the code on the chain', { timeout: 300_000 }, async () => {
  const lines: string[] = []
  const verifying = verifySources(onlyTheseThree(), {
    ...options('etherscan'),
    print: (line) => void lines.push(line),
  })
  await expect(verifying).rejects.toThrow(SourceVerificationError)
  expect([...verifier.verified].sort()).toEqual([sponsorPaymaster, streamAccountFactory, prepaidReserve].sort())
  expect(lines).toHaveLength(3)
})

test('contracts that a verifier refuses are named with its words, the others are verified, and Etherscan is not asked', {
  timeout: 300_000,
}, async () => {
  const { publicClient } = chain.clients
  await publicClient.request({
    method: 'anvil_setCode' as never,
    params: [streamAccountFactory, '0x00'] as never,
  })
  const verifying = verifySources(onlyTheseThree(), { ...options('sourcify'), attempts: 1 })
  const error = await verifying.catch((thrown: unknown) => thrown)
  if (!(error instanceof SourceVerificationError)) throw error
  expect(error.metaMessages.filter((line) => line.includes('the sources have changed'))).toHaveLength(3)
  expect(error.message).toMatch(`streamAccountFactory ${streamAccountFactory}`)
  expect(error.message).toContain('StreamAccountFactory compiles to other code')
  expect([...verifier.verified].sort()).toEqual([sponsorPaymaster, prepaidReserve].sort())
  expect(verifier.requests.some((request) => request.includes(etherscanKey))).toBe(false)
})

test('a verifier that does nothing has verified nothing', { timeout: 60_000 }, async () => {
  // Etherscan has no development chains, and forge leaves it at that.
  const verifying = verifySources({ ...onlyTheseThree(), chainId: 31337 }, options('etherscan'))
  await expect(verifying).rejects.toThrow(`streamAccountFactory ${streamAccountFactory}`)
})

function options(name: Verifier) {
  const env = { PATH: process.env.PATH, ETHERSCAN_API_KEY: etherscanKey }
  return { verifier: name, verifierUrl: verifier.url, env, print: () => {} }
}

/** The others seem to be deployed from other sources: those are told apart without compiling. */
function onlyTheseThree(): Deployment {
  const { contracts } = deployment
  const other = { ...contracts.sponsorPaymaster, address: roles.owner }
  return {
    ...deployment,
    contracts: {
      ...contracts,
      sessionKeyValidator: other,
      streamAccountImplementation: other,
      streamAccount7702Implementation: other,
    },
  }
}
