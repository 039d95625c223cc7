// npm run deploy: puts the contracts on a chain, checks them, and writes deployments/<chain id>.json.
import { execFile } from 'node:child_process'
import { parseArgs, promisify } from 'node:util'
import { addressSchema, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import { createPublicClient, createWalletClient, http, type PrivateKeyAccount } from 'viem'
import { nonceManager, privateKeyToAccount } from 'viem/accounts'
import { type ChainName, type ChainPreset, chainPresets } from '../src/chainPresets.ts'
import type { Deployment } from '../src/deployment.ts'
import { deploymentsDirectory, loadDeployment, writeDeployment } from '../src/deploymentFile.ts'
import { entryPoint07 } from '../src/planDeployment.ts'
import { DeploymentRefusedError, describePlan, prepareDeployment } from '../src/prepareDeployment.ts'
import { describePaymaster, readRoles, runDeployment } from '../src/runDeployment.ts'
import { serviceEnv } from '../src/serviceEnv.ts'
import { repositoryRoot } from '../src/standardInput.ts'
import { DeploymentMismatchError, verifyDeployment } from '../src/verifyDeployment.ts'
import { type Verifier, verifiers, verifySources } from '../src/verifySources.ts'

const usage = `Usage: npm run deploy -- --chain ${Object.keys(chainPresets).join('|')} [options]

  --rpc-url <url>          RPC of that chain; or RPC_URL in the environment
  --owner <address>        owns the paymaster at first      } needed where there is no deployments file yet;
  --signer <address>       signs for the paymaster at first } the same ones on every chain give the same addresses
  --entry-point-07         also deploys a paymaster for accounts on EntryPoint v0.7
  --dry-run                shows the plan and sends nothing
  --check                  compares the deployments file with the chain and sends nothing
  --record-roles           writes the paymaster's owner and signer of today to the deployments file
  --env                    prints the services' settings of the deployments file; needs no RPC
  --verify <verifier>      publishes the sources afterwards, or after --check: ${verifiers.join('|')}
  --verifier-url <url>     instead of the verifier's own
  --deployments <folder>   instead of deployments/

In the environment: DEPLOYER_PRIVATE_KEY pays for the deployment, ETHERSCAN_API_KEY is for --verify etherscan.`

type Command = {
  preset: ChainPreset
  directory: string
  rpcUrl: string | undefined
  verifier: Verifier | undefined
  values: ReturnType<typeof parseCommand>['values']
}

const print = (line: string) => console.log(line)

async function main(args: string[]): Promise<number> {
  let rpcUrl: string | undefined
  try {
    const command = readCommand(args)
    rpcUrl = command.rpcUrl
    if (command.values.env) return await printEnv(command)
    return await runOnChain(command)
  } catch (error) {
    const text = error instanceof UsageError ? `${error.message}\n\n${usage}` : textOf(error)
    // An RPC's address carries its key.
    console.error(rpcUrl ? text.replaceAll(rpcUrl, '[RPC]') : text)
    return 1
  }
}

async function printEnv({ preset, directory }: Command): Promise<number> {
  const settings = serviceEnv(await loadDeployment(preset.chain.id, directory))
  for (const [name, value] of Object.entries(settings)) print(`${name}=${value}`)
  return 0
}

async function runOnChain(command: Command): Promise<number> {
  const { preset, directory, values } = command
  const transport = http(existing(command.rpcUrl, 'Give --rpc-url or set RPC_URL.'))
  const publicClient = createPublicClient({ chain: preset.chain, transport })

  if (values.check || values['record-roles']) {
    const recorded = await loadDeployment(preset.chain.id, directory)
    const deployment = values['record-roles'] ? await readRoles(publicClient, recorded) : recorded
    const { problems, notes } = await verifyDeployment(publicClient, deployment)
    for (const note of notes) print(note)
    if (problems.length > 0) throw new DeploymentMismatchError(problems)
    if (await writeDeployment(deployment, directory))
      print(`owner ${deployment.roles.owner}, signer ${deployment.roles.signer}`)
    print(`Everything on ${preset.name} is as its deployments file says.`)
    for (const line of await describePaymaster(publicClient, deployment)) print(line)
    await publish(command, deployment)
    return 0
  }

  const account = deployerOf(process.env)
  const roles =
    values.owner !== undefined || values.signer !== undefined
      ? { owner: address(values.owner, '--owner'), signer: address(values.signer, '--signer') }
      : undefined
  const prepared = await prepareDeployment({
    publicClient,
    preset,
    directory,
    deployer: account?.address,
    ...(roles && { roles }),
    ...(values['entry-point-07'] && { entryPoint07 }),
  })
  print(describePlan(prepared))
  if (values['dry-run']) return 0

  const walletClient = createWalletClient({
    chain: preset.chain,
    transport,
    account: existing(account, 'Set DEPLOYER_PRIVATE_KEY, or look at the plan alone with --dry-run.'),
  })
  const commit = await sourceCommit(preset)
  const deployment = await runDeployment({ publicClient, walletClient }, prepared, { commit, print })
  print((await writeDeployment(deployment, directory)) ? `Wrote ${prepared.path}` : `${prepared.path} says so already`)
  for (const line of await describePaymaster(publicClient, deployment)) print(line)
  await publish(command, deployment)
  return 0
}

async function publish({ values, verifier }: Command, deployment: Deployment): Promise<void> {
  if (!verifier) return
  const { 'verifier-url': verifierUrl } = values
  const { DEPLOYER_PRIVATE_KEY: _, ...env } = process.env
  await verifySources(deployment, { verifier, ...(verifierUrl && { verifierUrl }), env, print })
}

function parseCommand(args: string[]) {
  return parseArgs({
    args,
    options: {
      chain: { type: 'string' },
      'rpc-url': { type: 'string' },
      owner: { type: 'string' },
      signer: { type: 'string' },
      'entry-point-07': { type: 'boolean' },
      'dry-run': { type: 'boolean' },
      check: { type: 'boolean' },
      'record-roles': { type: 'boolean' },
      env: { type: 'boolean' },
      verify: { type: 'string' },
      'verifier-url': { type: 'string' },
      deployments: { type: 'string' },
    },
  })
}

function readCommand(args: string[]): Command {
  let values: Command['values']
  try {
    ;({ values } = parseCommand(args))
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
  const chain = values.chain ?? ''
  if (!(chain in chainPresets)) throw new UsageError(chain ? `There is no preset ${chain}.` : 'Give --chain.')
  const verifier = verifiers.find((name) => name === values.verify)
  if (values.verify !== undefined && !verifier) {
    throw new UsageError(`--verify takes ${verifiers.join(', ')}, not ${values.verify}.`)
  }
  return {
    preset: chainPresets[chain as ChainName],
    directory: values.deployments ?? deploymentsDirectory,
    rpcUrl: values['rpc-url'] ?? process.env.RPC_URL,
    verifier,
    values,
  }
}

function deployerOf({ DEPLOYER_PRIVATE_KEY: key }: NodeJS.ProcessEnv): PrivateKeyAccount | undefined {
  if (!key) return undefined
  try {
    // Counts its own transactions: an RPC of many nodes may not have seen the last one yet.
    return privateKeyToAccount(key as Hex, { nonceManager })
  } catch {
    // Whatever it is, it may be close to a key.
    throw new UsageError('DEPLOYER_PRIVATE_KEY is not a private key: 32 bytes of hex, with 0x.')
  }
}

/** The commit that the contracts are compiled from. On a public chain it has to be there, and be all there is. */
async function sourceCommit({ usdc, name }: ChainPreset): Promise<string | null> {
  const git = async (...args: string[]) =>
    (await promisify(execFile)('git', args, { cwd: repositoryRoot })).stdout.trim()
  const ownChain = usdc === undefined
  try {
    const changed = await git('status', '--porcelain', '--', 'contracts/src', 'contracts/generated', 'foundry.toml')
    if (changed !== '' && !ownChain) {
      throw new DeploymentRefusedError(
        `The sources differ from the last commit:\n${changed}`,
        `Commit first: what is deployed on ${name} has to be found again.`,
      )
    }
    return changed === '' ? await git('rev-parse', 'HEAD') : null
  } catch (error) {
    if (error instanceof DeploymentRefusedError || !ownChain) throw error
    return null
  }
}

function address(text: string | undefined, option: string) {
  const parsed = addressSchema.safeParse(text)
  if (parsed.success) return parsed.data
  throw new UsageError(`${option} has to be an address, and is ${text ?? 'missing'}.`)
}

function existing<T>(value: T | undefined, problem: string): T {
  if (value === undefined) throw new UsageError(problem)
  return value
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error instanceof BaseError && error.cause instanceof Error ? `\n${error.cause.message}` : ''
  return `${error.message}${cause}`
}

class UsageError extends Error {}

process.exitCode = await main(process.argv.slice(2))
