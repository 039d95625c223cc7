import { setTimeout as delay } from 'node:timers/promises'
import type { Stack } from '@protocolbanks/stream-dev'
import { type AgentGrant, parseGrant } from '@protocolbanks/stream-sdk'
import { foundry } from 'viem/chains'
import { manage } from './manage.ts'
import type { Shop } from './openShop.ts'
import { createOwner, grantBudget, type TestGrant, type TestOwner } from './sponsoredChain.ts'

export type Budget = TestOwner & TestGrant & { agentGrant: AgentGrant }

const mirrorTimeoutMs = 120_000

/**
 * A new owner with 100 USDC gives a new session key 50 of them for the shop; the gateway has seen it. Or the owner of a
 * budget before gives another; with a `deposit` they come from the reserve, see `grantBudget`.
 */
export async function giveBudget(
  stack: Stack,
  { payee }: Pick<Shop, 'payee'>,
  { owner: known, deposit }: { owner?: TestOwner; deposit?: bigint } = {},
): Promise<Budget> {
  const chain = { ...stack, anvil: stack.chain, chain: foundry, minting: Promise.resolve() }
  const { owner: key, account, bundlerClient } = known ?? (await createOwner(chain))
  const owner: TestOwner = { owner: key, account, bundlerClient }
  const grant = await grantBudget(chain, owner, { payees: [payee], deposit })
  const agentGrant = parseGrant({
    grantId: grant.grantId,
    account: owner.account.address,
    chainId: stack.chain.chainId,
    module: stack.contracts.sessionKeyValidator,
    token: stack.contracts.testUsdc,
    payees: [payee],
    totalLimit: grant.terms.totalLimit.toString(),
  })
  const deadline = Date.now() + mirrorTimeoutMs
  for (;;) {
    const { status } = await manage(stack, stack.operatorApiKey, `GET /session-keys/${grant.terms.sessionKey}`)
    if (status === 200) return { ...owner, ...grant, agentGrant }
    if (Date.now() > deadline) throw new Error(`The gateway has not seen ${grant.grantId} in ${mirrorTimeoutMs} ms.`)
    await delay(50)
  }
}
