import { createSiweMessage } from 'viem/siwe'
import type { Stack } from '../stack/stack.ts'
import type { Budget } from './grantBudget.ts'
import { type ManagementApi, managementApi } from './managementApi.ts'

type Nonce = { nonce: string; statement: string; chainId: number }

/** The owner signs in at the gateway with their account (docs/owners.md), and asks from there on. */
export async function signInAsOwner(stack: Stack, { account, signMessage }: Budget): Promise<ManagementApi> {
  const { url } = stack.gateway
  const nobody = managementApi(url, 'none')
  const { nonce, statement, chainId } = await nobody.post<Nonce>('/owners/nonce', undefined)
  const { host: domain, origin: uri } = new URL(url)
  const message = createSiweMessage({ address: account, chainId, domain, nonce, statement, uri, version: '1' })
  const signature = await signMessage(message)
  const { token } = await nobody.post<{ token: string }>('/owners/session', { message, signature })
  return managementApi(url, token)
}
