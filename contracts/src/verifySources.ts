import { BaseError } from '@protocolbanks/stream-protocol'
import { artifacts, compiler } from '../generated/artifacts.ts'
import { type ChainPreset, chainPresets } from './chainPresets.ts'
import type { Deployment } from './deployment.ts'
import { type PlannedContract, planDeployment } from './planDeployment.ts'
import { forgeVerify } from './standardInput.ts'

export const verifiers = ['etherscan', 'blockscout', 'sourcify'] as const
export type Verifier = (typeof verifiers)[number]

export type VerifySourcesOptions = {
  verifier: Verifier
  /** Instead of the verifier's own, or the preset's Blockscout. */
  verifierUrl?: string
  /** For forge: ETHERSCAN_API_KEY, proxies, PATH. It must not hold the deployer's key. */
  env: NodeJS.ProcessEnv
  /** How often a verifier is asked that refuses, because it may not have seen the contract yet. 5 unless given. */
  attempts?: number
  print: (line: string) => void
}

/**
 * Publishes the sources of a deployment's contracts at a verifier, which compiles them and compares. What is verified
 * already stays so.
 *
 * @throws SourceVerificationError naming each contract that was not accepted
 */
export async function verifySources(deployment: Deployment, options: VerifySourcesOptions): Promise<void> {
  const { initialRoles, entryPoint, entryPoint07 } = deployment
  const plan = planDeployment({ ...initialRoles, entryPoint, ...(entryPoint07 && { entryPoint07 }) })
  // With a key for Etherscan forge turns to Etherscan, whichever verifier is named.
  const { ETHERSCAN_API_KEY: _, ...others } = options.env
  const env = options.verifier === 'etherscan' ? options.env : others
  const problems: string[] = []
  for (const contract of plan.contracts) {
    if (deployment.contracts[contract.name]?.address !== contract.address) {
      const commit = deployment.sources.commit ?? 'the sources it was deployed from'
      problems.push(`${contract.name}: the sources have changed since it was deployed. Check out ${commit}.`)
      continue
    }
    try {
      const args = argsOf(deployment, contract, options)
      const { stdout, stderr } = await forgeVerify(artifacts[contract.artifact], compiler.version, args, env)
      // Forge also ends well where it has done nothing, as on a chain that the verifier does not know.
      if (!/successfully verified|already verified/i.test(stdout)) throw new Error(`${stdout}\n${stderr}`)
      options.print(`${contract.name} ${contract.address}: its sources are at ${options.verifier}`)
    } catch (error) {
      problems.push(`${contract.name} ${contract.address}: ${wordsOf(error)}`)
    }
  }
  if (problems.length > 0) throw new SourceVerificationError(options.verifier, problems)
}

function argsOf(
  deployment: Deployment,
  contract: PlannedContract,
  { verifier, verifierUrl, attempts = 5 }: VerifySourcesOptions,
) {
  const preset: ChainPreset | undefined = Object.values(chainPresets).find(({ name }) => name === deployment.chain)
  const url = verifierUrl ?? (verifier === 'blockscout' ? preset?.blockscoutUrl : undefined)
  const transaction = deployment.contracts[contract.name]?.transaction
  // The reserve is created inside of the module's transaction: verifiers look for its creation themselves.
  const own = contract.name === 'prepaidReserve' ? undefined : transaction
  return [
    ...['--verifier', verifier],
    ...(url ? ['--verifier-url', url] : []),
    ...['--chain', String(deployment.chainId)],
    ...(contract.constructorArguments === '0x' ? [] : ['--constructor-args', contract.constructorArguments]),
    ...(own && verifier === 'sourcify' ? ['--creation-transaction-hash', own.hash] : []),
    ...['--retries', String(attempts), '--watch'],
    contract.address,
  ]
}

/** Forge's own words, without the command line. */
function wordsOf(error: unknown): string {
  const { stderr, stdout } = error as { stderr?: unknown; stdout?: unknown }
  const words = [stdout, stderr].filter((text) => typeof text === 'string' && text.trim() !== '').join('\n')
  return words || (error instanceof Error ? error.message : String(error))
}

/** A verifier did not accept a source. */
export class SourceVerificationError extends BaseError {
  override readonly code = 'deployment.source_unverified'
  constructor(verifier: Verifier, problems: string[]) {
    super(`Not every source was verified at ${verifier}.`, {
      metaMessages: [...problems, 'Run it again: what is verified stays so.'],
      docsPath: '/errors#deployment-source-unverified',
    })
  }
}
