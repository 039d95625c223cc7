import { BaseError } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { streamAccount7702Abi } from '@protocolbanks/stream-protocol/abi/streamAccount7702Abi'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import {
  type Address,
  ContractFunctionExecutionError,
  ContractFunctionRevertedError,
  ContractFunctionZeroDataError,
  type Hex,
  isAddress,
  isAddressEqual,
  keccak256,
  type PublicClient,
  TransactionReceiptNotFoundError,
} from 'viem'
import type { Deployment } from './deployment.ts'
import { expectedCode } from './expectedCode.ts'
import { type ContractAddresses, type PlannedContract, planDeployment } from './planDeployment.ts'

export type Verification = {
  /** What is not as the deployment says, each with what to do. Empty: everything is. */
  problems: string[]
  /** What could not be compared. */
  notes: string[]
}

type Named = { name: keyof ContractAddresses; contract: Deployment['contracts']['sessionKeyValidator'] }

/**
 * Compares a deployment with the chain: runtime code to the last byte with what these sources compile to, what the
 * getters answer, who runs the paymaster, and that the recorded transactions are still there.
 */
export async function verifyDeployment(publicClient: PublicClient, deployment: Deployment): Promise<Verification> {
  const problems: string[] = []
  const notes: string[] = []
  const chainId = await publicClient.getChainId()
  if (chainId !== deployment.chainId) {
    return { problems: [`The deployment is on chain ${deployment.chainId}, the RPC answers for ${chainId}.`], notes }
  }
  const plan = planDeployment({ ...deployment.initialRoles, ...entryPointsOf(deployment) })
  for (const outside of ['entryPoint', 'entryPoint07', 'usdc'] as const) {
    const address = deployment[outside]
    if (address && !(await publicClient.getCode({ address }))) problems.push(`${outside} ${address}: it has no code.`)
  }
  for (const { name, contract } of namedContracts(deployment)) {
    const where = `${name} ${contract.address}`
    const code = await publicClient.getCode({ address: contract.address })
    if (code === undefined) {
      problems.push(`${where}: it has no code. Deploy it by running this without --check.`)
      continue
    }
    const before = problems.length
    if (keccak256(code) !== contract.codeHash) {
      problems.push(
        `${where}: its code has the hash ${keccak256(code)}, the deployment says ${contract.codeHash}. Do not use it, and ask another RPC: code at such an address cannot change.`,
      )
    }
    const planned = plan.contracts.find((candidate) => candidate.name === name)
    if (planned && isAddressEqual(planned.address, contract.address)) {
      if (code !== codeOf(deployment, planned, plan.addresses)) {
        problems.push(`${where}: its code is not what these sources compile to. Do not use it.`)
      }
    } else {
      notes.push(
        `${where}: compared by its hash alone, because the sources have changed since. Check out ${deployment.sources.commit ?? 'those it was deployed from'} to compare the code.`,
      )
    }
    problems.push(...(await checkTransaction(publicClient, where, contract)))
    // Getters of other code mean nothing.
    if (problems.length === before) problems.push(...(await checkGetters(publicClient, deployment, name)))
  }
  return { problems, notes }
}

/** Throws what `verifyDeployment` found. */
export class DeploymentMismatchError extends BaseError {
  override readonly code = 'deployment.mismatch'
  constructor(problems: string[]) {
    super('What is on the chain is not what was deployed.', {
      metaMessages: problems,
      docsPath: '/errors#deployment-mismatch',
    })
  }
}

function namedContracts({ contracts }: Deployment): Named[] {
  return Object.entries(contracts).flatMap(([name, contract]) =>
    contract ? [{ name: name as keyof ContractAddresses, contract }] : [],
  )
}

function entryPointsOf({ entryPoint, entryPoint07 }: Deployment) {
  return { entryPoint, ...(entryPoint07 && { entryPoint07 }) }
}

/** What a planned contract's runtime code is on the deployment's chain. */
function codeOf(
  { chainId, entryPoint, entryPoint07 }: Deployment,
  planned: PlannedContract,
  addresses: ContractAddresses,
): Hex {
  return expectedCode(planned.artifact, {
    chainId,
    address: planned.address,
    entryPoint: planned.name === 'sponsorPaymaster07' && entryPoint07 ? entryPoint07 : entryPoint,
    module: addresses.sessionKeyValidator,
    reserve: addresses.prepaidReserve,
    implementation: addresses.streamAccountImplementation,
  })
}

async function checkTransaction(
  publicClient: PublicClient,
  where: string,
  { transaction }: Named['contract'],
): Promise<string[]> {
  if (!transaction) return []
  try {
    const { blockNumber } = await publicClient.getTransactionReceipt({ hash: transaction.hash })
    if (blockNumber === BigInt(transaction.block)) return []
    return [
      `${where}: its transaction ${transaction.hash} is in block ${blockNumber}, the deployment says ${transaction.block}. The chain was reorganised: remove "transaction" with its value null, and run this without --check.`,
    ]
  } catch (error) {
    if (!(error instanceof TransactionReceiptNotFoundError)) throw error
    return [`${where}: the RPC does not know its transaction ${transaction.hash}. Ask another, which keeps old ones.`]
  }
}

async function checkGetters(
  publicClient: PublicClient,
  deployment: Deployment,
  name: keyof ContractAddresses,
): Promise<string[]> {
  const { contracts, entryPoint, entryPoint07, roles } = deployment
  const address = contracts[name]?.address
  if (!address) return []
  const problems: string[] = []
  const expect = async (getter: string, answer: Promise<Address>, expected: Address, advice: string) => {
    const actual = await answer.catch((error: unknown) => {
      // An RPC that fails says nothing about the contract.
      if (error instanceof ContractFunctionExecutionError && isAnswer(error)) return 'no address'
      throw error
    })
    if (isAddress(actual) && isAddressEqual(actual, expected)) return
    problems.push(`${name} ${address}: ${getter}() is ${actual}, the deployment says ${expected}. ${advice}`)
  }
  const never = 'Do not use it.'
  const paymaster = async (itsEntryPoint: Address) => {
    const contract = { address, abi: sponsorPaymasterAbi } as const
    const rotated = 'If you made that change, record it with --record-roles; otherwise the key is in other hands.'
    const read = (functionName: 'entryPoint' | 'owner' | 'signer') =>
      publicClient.readContract({ ...contract, functionName })
    await expect('entryPoint', read('entryPoint'), itsEntryPoint, never)
    await expect('owner', read('owner'), roles.owner, rotated)
    await expect('signer', read('signer'), roles.signer, rotated)
  }
  const checks: Record<keyof ContractAddresses, () => Promise<void>> = {
    sessionKeyValidator: () =>
      expect(
        'reserve',
        publicClient.readContract({ address, abi: sessionKeyValidatorAbi, functionName: 'reserve' }),
        contracts.prepaidReserve.address,
        never,
      ),
    prepaidReserve: () =>
      expect(
        'module',
        publicClient.readContract({ address, abi: prepaidReserveAbi, functionName: 'module' }),
        contracts.sessionKeyValidator.address,
        never,
      ),
    sponsorPaymaster: () => paymaster(entryPoint),
    sponsorPaymaster07: () => paymaster(entryPoint07 ?? entryPoint),
    streamAccountFactory: () =>
      expect(
        'implementation',
        publicClient.readContract({ address, abi: streamAccountFactoryAbi, functionName: 'implementation' }),
        contracts.streamAccountImplementation.address,
        never,
      ),
    streamAccountImplementation: () =>
      expect(
        'entryPoint',
        publicClient.readContract({ address, abi: streamAccountAbi, functionName: 'entryPoint' }),
        entryPoint,
        never,
      ),
    streamAccount7702Implementation: () =>
      expect(
        'entryPoint',
        publicClient.readContract({ address, abi: streamAccount7702Abi, functionName: 'entryPoint' }),
        entryPoint,
        never,
      ),
  }
  await checks[name]()
  return problems
}

/** The contract reverted, or has no such function. */
function isAnswer(error: ContractFunctionExecutionError): boolean {
  return error.cause instanceof ContractFunctionRevertedError || error.cause instanceof ContractFunctionZeroDataError
}
