import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { deploymentPath, loadDeployment } from './deploymentFile.ts'
import { planDeployment } from './planDeployment.ts'
import { repositoryRoot } from './standardInput.ts'
import { startChain, type TestChain } from './testing/startChain.ts'

// The command as an operator runs it: `npm run deploy -- ...`.

/** Of the second account that anvil funds, known to everybody. */
const deployerKey = '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d'
const roles = {
  owner: privateKeyToAccount(generatePrivateKey()).address,
  signer: privateKeyToAccount(generatePrivateKey()).address,
}
const roleOptions = ['--owner', roles.owner, '--signer', roles.signer]
const chainId = 31337

let chain: TestChain
let directory: string

beforeAll(async () => {
  chain = await startChain()
  directory = await mkdtemp(join(tmpdir(), 'stream-deployments-'))
})

afterAll(async () => {
  await chain.stop()
  await rm(directory, { recursive: true })
})

test('an operator looks at the plan, deploys, deploys again, checks and configures the services', {
  timeout: 120_000,
}, async () => {
  const plan = await deploy([...roleOptions, '--dry-run'], { DEPLOYER_PRIVATE_KEY: undefined })
  expect(plan).toMatchObject({ exitCode: 0, output: expect.stringMatching(/sponsorPaymaster +0x\w{40} +to deploy/) })
  expect(await readdir(directory)).toEqual([])

  const first = await deploy(roleOptions)
  expect(first.output).toContain(`Wrote ${deploymentPath(chainId, directory)}`)
  expect(first.output).toContain('deposit 0, no stake')
  expect(first.exitCode).toBe(0)
  const { contracts } = await loadDeployment(chainId, directory)
  expect(contracts.sessionKeyValidator.address).toBe(planDeployment(roles).addresses.sessionKeyValidator)

  const written = await readFile(deploymentPath(chainId, directory), 'utf8')
  const second = await deploy([])
  expect(second).toMatchObject({ exitCode: 0, output: expect.stringContaining('says so already') })
  expect(second.output).not.toContain('to deploy')
  expect(await readFile(deploymentPath(chainId, directory), 'utf8')).toBe(written)

  const check = await deploy(['--check'], { DEPLOYER_PRIVATE_KEY: undefined })
  expect(check).toMatchObject({ exitCode: 0, output: expect.stringContaining('is as its deployments file says') })

  const env = await deploy(['--env'], { RPC_URL: undefined })
  expect(env.output.split('\n')).toContain(`SESSION_MODULE=${contracts.sessionKeyValidator.address}`)

  const { address } = contracts.sponsorPaymaster
  const code = await chain.clients.publicClient.getCode({ address })
  await setCode(address, '0x00')
  const tampered = await deploy(['--check'])
  expect(tampered).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining(`sponsorPaymaster ${address}: its code`),
  })
  await setCode(address, code)
  for (const { output } of [plan, first, second, check, env, tampered])
    expect(output).not.toContain(deployerKey.slice(2))
})

test('neither a bad key nor the address of an RPC is ever printed', { timeout: 60_000 }, async () => {
  const badKey = `${deployerKey}00`
  const bad = await deploy(roleOptions, { DEPLOYER_PRIVATE_KEY: badKey })
  expect(bad).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining('DEPLOYER_PRIVATE_KEY is not a private key'),
  })
  expect(bad.output).not.toContain(deployerKey.slice(2))
  // Nothing listens on port 1.
  const unreachable = await deploy(roleOptions, { RPC_URL: 'http://127.0.0.1:1/v2/key-of-the-rpc' })
  expect(unreachable).toMatchObject({ exitCode: 1, output: expect.stringContaining('[RPC]') })
  expect(unreachable.output).not.toContain('key-of-the-rpc')
})

test('what is missing or not known is told with how to use the command', { timeout: 60_000 }, async () => {
  const answers = await Promise.all([
    deploy(['--chain', 'nowhere']),
    deploy([...roleOptions, '--verify', 'nobody']),
    deploy(['--owner', 'me', '--signer', roles.signer]),
    deploy([...roleOptions, '--unknown']),
  ])
  const problems = ['There is no preset nowhere.', '--verify takes', '--owner has to be an address', '--unknown']
  for (const [index, { exitCode, output }] of answers.entries()) {
    expect(exitCode).toBe(1)
    expect(output).toContain(problems[index])
    expect(output).toContain('Usage: npm run deploy')
  }
})

/** Standard output and error together, as a person sees them. */
function deploy(args: string[], env: NodeJS.ProcessEnv = {}): Promise<{ exitCode: number; output: string }> {
  return new Promise((resolve) => {
    const command = ['--import', 'tsx', 'contracts/script/deploy.ts', '--chain', 'local', '--deployments', directory]
    const child = execFile(
      process.execPath,
      [...command, ...args],
      { cwd: repositoryRoot, env: { ...process.env, RPC_URL: chain.url, DEPLOYER_PRIVATE_KEY: deployerKey, ...env } },
      (_, stdout, stderr) => resolve({ exitCode: child.exitCode ?? -1, output: stdout + stderr }),
    )
  })
}

function setCode(address: string, code: string | undefined): Promise<unknown> {
  return chain.clients.publicClient.request({ method: 'anvil_setCode' as never, params: [address, code] as never })
}
