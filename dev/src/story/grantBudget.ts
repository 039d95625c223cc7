import { randomBytes } from 'node:crypto'
import {
  createBundler,
  entryPoint08,
  grantSetupCalls,
  toStreamSmartAccount,
} from '@protocolbanks/stream-bundler-client'
import { type Address, type GrantTerms, grantIdOf, payeeRootOf } from '@protocolbanks/stream-protocol'
import { type AgentGrant, parseGrant } from '@protocolbanks/stream-sdk'
import { bytesToHex, type Hex, http, type LocalAccount } from 'viem'
import { createBundlerClient, createPaymasterClient } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { mintTestUsdc } from '../stack/contracts.ts'
import type { Stack } from '../stack/stack.ts'

export type Budget = {
  grant: AgentGrant
  /** The agent's; its private half. */
  sessionKey: Hex
  account: Address
  owner: Address
  /** How often the owner's key was used. */
  ownerSignatures(): number
}

export type BudgetOptions = {
  payees: readonly Address[]
  /** Base units: what the account holds, the allowance and the grant's total limit. */
  amountAtomic: bigint
  days: number
  /** Whose gas budget the owner's UserOperation is booked to. */
  paymasterApiKey: string
}

/**
 * An owner who has no smart account yet gives an agent a budget: one signature deploys the account, installs the
 * module with a guardian, sets the allowance and makes the grant. Our paymaster pays the gas.
 */
export async function grantBudget(stack: Stack, options: BudgetOptions): Promise<Budget> {
  const { payees, amountAtomic, days, paymasterApiKey } = options
  const { contracts, clients, accounts, chain, entryPoint } = stack
  const client = clients.publicClient
  const owner = countSignatures(privateKeyToAccount(generatePrivateKey()))
  const sessionKey = generatePrivateKey()
  const account = await toStreamSmartAccount({
    client,
    owner: owner.account,
    factory: contracts.streamAccountFactory,
    bundler: createBundler({ url: stack.bundler.url, chainId: chain.chainId, entryPoint: entryPoint08, chain: client }),
  })
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
    source: 'allowance',
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
  })
  const hash = await bundlerClient.sendUserOperation({
    calls: grantSetupCalls({
      account: account.address,
      module,
      guardian: accounts.guardian.address,
      token: contracts.testUsdc,
      allowance: amountAtomic,
      terms,
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
  return { grant, sessionKey, account: account.address, owner: owner.account.address, ownerSignatures: owner.count }
}

/** The same account; every use of its key is counted. */
function countSignatures(account: LocalAccount): { account: LocalAccount; count(): number } {
  let used = 0
  const counted = <parameters extends unknown[], result>(sign: (...parameters: parameters) => result) => {
    return (...parameters: parameters): result => {
      used++
      return sign(...parameters)
    }
  }
  const { sign } = account
  return {
    account: {
      ...account,
      ...(sign && { sign: counted(sign) }),
      signMessage: counted(account.signMessage),
      signTransaction: counted(account.signTransaction) as LocalAccount['signTransaction'],
      signTypedData: counted(account.signTypedData) as LocalAccount['signTypedData'],
    },
    count: () => used,
  }
}
