import { randomBytes } from 'node:crypto'
import { type Budget, grantBudget, type Stack } from '@protocolbanks/stream-dev'
import {
  type Address,
  type GrantTerms,
  grantIdOf,
  type Hex,
  payeeRootOf,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { bytesToHex, encodeFunctionData } from 'viem'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'

/** A grant of an agent, as its client knows it. */
export type OpenGrant = { grantId: Hex; account: Address; sessionKey: Hex }

const days = 30
const fundsAtomic = 1_000_000_000n
const limitAtomic = 50_000_000n

/** The paymaster sponsors no more calls of one operation. */
const callsPerOperation = 8

/** Grants of several accounts, all on the chain: each account gives `perAccount`. */
export async function openGrants(
  stack: Stack,
  { accounts, perAccount, payee }: { accounts: number; perAccount: number; payee: Address },
): Promise<OpenGrant[]> {
  const grants: OpenGrant[] = []
  // An account's other grants are made while the next accounts are opened.
  const more: Promise<OpenGrant[]>[] = []
  for (let account = 0; account < accounts; account++) {
    const budget = await grantBudget(stack, {
      payees: [payee],
      amountAtomic: fundsAtomic,
      days,
      paymasterApiKey: stack.operatorApiKey,
    })
    grants.push({ grantId: budget.grant.grantId, account: budget.account, sessionKey: budget.sessionKey })
    const others = giveMore(stack, budget, perAccount - 1, payee)
    others.catch(() => {})
    more.push(others)
  }
  return [...grants, ...(await Promise.all(more)).flat()]
}

async function giveMore(stack: Stack, budget: Budget, count: number, payee: Address): Promise<OpenGrant[]> {
  const { chain, contracts, accounts, clients } = stack
  const module = contracts.sessionKeyValidator
  const { timestamp } = await clients.publicClient.getBlock()
  const made = Array.from({ length: count }, () => {
    const sessionKey = generatePrivateKey()
    const terms: GrantTerms = {
      sessionKey: privateKeyToAddress(sessionKey),
      settler: accounts.settler.address,
      token: contracts.testUsdc,
      totalLimit: limitAtomic,
      periodLimit: 0n,
      period: 0,
      validAfter: Number(timestamp),
      validUntil: Number(timestamp) + days * 86_400,
      payeeRoot: payeeRootOf([payee]),
      source: 'allowance',
      salt: bytesToHex(randomBytes(24)),
    }
    const grantId = grantIdOf({ chainId: chain.chainId, module, account: budget.account, epoch: 0n }, terms)
    const args = [toContractTerms(terms)] as const
    const data = encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'grant', args })
    return { grant: { grantId, account: budget.account, sessionKey }, call: { to: module, data } }
  })
  for (let start = 0; start < made.length; start += callsPerOperation) {
    await budget.act(made.slice(start, start + callsPerOperation).map(({ call }) => call))
  }
  return made.map(({ grant }) => grant)
}
