import { setTimeout as delay } from 'node:timers/promises'
import { privateKeyToAddress } from 'viem/accounts'
import type { Stack } from '../stack/stack.ts'
import type { Budget } from './grantBudget.ts'
import { managementApi } from './managementApi.ts'

const timeoutMs = 30_000

type Grants = { grants: { grantId: string; status: string }[] }

/** Until the gateway has seen the grant on-chain. @throws after 30 s */
export async function untilMirrored(stack: Stack, { grant, sessionKey }: Budget): Promise<void> {
  const api = managementApi(stack.gateway.url, stack.operatorApiKey)
  const path = `/session-keys?account=${grant.account}`
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const { grants } = await api.get<Grants>(path)
    if (grants.some(({ grantId, status }) => grantId === grant.grantId && status === 'active')) return
    if (Date.now() > deadline) {
      throw new Error(
        `The gateway has not seen grant ${grant.grantId} of ${privateKeyToAddress(sessionKey)} within ${timeoutMs} ms.`,
      )
    }
    await delay(50)
  }
}
