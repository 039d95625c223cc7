import { randomBytes } from 'node:crypto'
import { grantSetupCalls } from '@protocolbanks/stream-bundler-client'
import {
  type Address,
  type GrantSource,
  type GrantTerms,
  grantIdOf,
  payeeRootOf,
  reserveOf,
} from '@protocolbanks/stream-protocol'
import { type AgentGrant, parseGrant } from '@protocolbanks/stream-sdk'
import { bytesToHex, type Hex, http } from 'viem'
import { createBundlerClient, createPaymasterClient } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { mintTestUsdc } from '../stack/contracts.ts'
import type { Stack } from '../stack/stack.ts'
import { type AccountKind, type OwnerSignatures, openAccount } from './openAccount.ts'

export type Budget = {
  grant: AgentGrant
  /** The agent's; its private half. */
  sessionKey: Hex
  account: Address
  owner: Address
  /** How often the owner's key was used, and what for. */
  ownerSignatures(): OwnerSignatures
  /** By the account (ERC-1271), with the owner's key. */
  signMessage(message: string): Promise<Hex>
  /** One UserOperation of the account, signed by the owner, paid by our paymaster. @returns its transaction */
  act(calls: readonly { to: Address; data: Hex }[]): Promise<Hex>
}

export type BudgetOptions = {
  payees: readonly Address[]
  /** Base units: what the account gets, and the grant's total limit. All of it is allowed to the module, or deposited. */
  amountAtomic: bigint
  /** What pays, the account's allowance or its reserve; `allowance` by default. */
  source?: GrantSource | undefined
  days: number
  /** Whose gas budget the owner's UserOperation is booked to. */
  paymasterApiKey: string
  /** `stream` by default. */
  accountKind?: AccountKind
}

/**
 * An owner who has no smart account yet gives an agent a budget: one signature deploys the account (or has the owner's
 * EOA delegate, which takes an authorisation besides), installs the module with a guardian, sets the allowance or fills the
 * reserve, and makes the grant. Our paymaster pays the gas.
 */
export async function grantBudget(stack: Stack, options: BudgetOptions): Promise<Budget> {
  const { payees, amountAtomic, days, paymasterApiKey, accountKind = 'stream', source = 'allowance' } = options
  const { contracts, clients, accounts, chain, entryPoint } = stack
  const client = clients.publicClient
  const sessionKey = generatePrivateKey()
  const { account, owner, fees, signDelegation, signatures } = await openAccount(stack, accountKind)
  await mintTestUsdc(clients, { token: contracts.testUsdc, to: account.address, amountAtomic })

  const { timestamp } = await client.getBlock()
  const terms: GrantTerms = {
    sessionKey: privateKeyToAccount(sessionKey).address,
    settler: accounts.settler.address,
    token: contracts.testUsdc,
    totalLimit: amountAtomic,
    periodLimit: 0n,
    period: 0,
    validAfter: Number(timestamp),
    validUntil: Number(timestamp) + days * 86_400,
    payeeRoot: payeeRootOf(payees),
    source,
    salt: bytesToHex(randomBytes(24)),
  }
  const module = contracts.sessionKeyValidator
  const paymaster = createPaymasterClient({ transport: http(`${stack.paymaster.url}/?apikey=${paymasterApiKey}`) })
  const bundlerClient = createBundlerClient({
    account,
    client,
    paymaster,
    transport: http(stack.bundler.url),
    pollingInterval: 50,
    userOperation: { estimateFeesPerGas: fees },
  })
  const authorization = await signDelegation()
  const hash = await bundlerClient.sendUserOperation({
    ...(authorization && { authorization }),
    calls: grantSetupCalls({
      account: account.address,
      module,
      guardian: accounts.guardian.address,
      token: contracts.testUsdc,
      terms,
      ...(source === 'reserve' ? { reserve: reserveOf(module), deposit: amountAtomic } : { allowance: amountAtomic }),
    }),
  })
  const { success, reason } = await bundlerClient.waitForUserOperationReceipt({ hash, timeout: 60_000 })
  if (!success)
    throw new Error(`The owner's UserOperation ${hash} at ${entryPoint} failed: ${reason ?? 'no reason given'}`)

  const grantId = grantIdOf({ chainId: chain.chainId, module, account: account.address, epoch: 0n }, terms)
  const grant = parseGrant({
    grantId,
    account: account.address,
    chainId: chain.chainId,
    module,
    token: contracts.testUsdc,
    payees,
    totalLimit: amountAtomic.toString(),
  })
  return {
    grant,
    sessionKey,
    account: account.address,
    owner,
    ownerSignatures: signatures,
    signMessage: (message) => account.signMessage({ message }),
    async act(calls) {
      const operation = await bundlerClient.sendUserOperation({ calls })
      const outcome = await bundlerClient.waitForUserOperationReceipt({ hash: operation, timeout: 60_000 })
      if (outcome.success) return outcome.receipt.transactionHash
      throw new Error(`The owner's UserOperation ${operation} failed: ${outcome.reason ?? 'no reason given'}`)
    },
  }
}
