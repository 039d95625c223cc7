import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Stack } from '@protocolbanks/stream-dev'
import type { Address } from '@protocolbanks/stream-protocol'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { manage } from './manage.ts'

/** A merchant with one priced service behind the gateway, whose API counts how often it is really called. */
export type Shop = {
  merchantId: string
  payee: Address
  apiKey: string
  /** At the gateway. */
  url: string
  /** Paths that reached the merchant's own API, in order. */
  calls: string[]
  stop(): Promise<void>
}

export const priceAtomic = 10_000n

/**
 * @param name of the merchant, its service and its prefix; a stack has one shop of each name
 * @param from `itself`: the merchant's own server asks the gateway for each call, the gateway proxies none
 */
export async function openShop(
  stack: Stack,
  name: string,
  { from = 'gateway' }: { from?: 'gateway' | 'itself' } = {},
): Promise<Shop> {
  const calls: string[] = []
  const server = createServer((request, response) => {
    calls.push(request.url ?? '')
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ call: calls.length }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })

  const payee = privateKeyToAddress(generatePrivateKey())
  const create = async <body>(apiKey: string, path: string, json: unknown): Promise<body> => {
    const { status, body } = await manage<body>(stack, apiKey, `POST /${path}`, json)
    if (status === 201) return body
    await stop()
    throw new Error(`POST /api/${path} was answered ${status}: ${JSON.stringify(body)}`)
  }
  const { id: merchantId } = await create<{ id: string }>(stack.operatorApiKey, 'merchants', { name, payee })
  const { key: apiKey } = await create<{ key: string }>(stack.operatorApiKey, 'api-keys', { merchantId, name })
  const upstream = from === 'gateway' ? `http://127.0.0.1:${port}` : null
  // This machine is a private network: the operator may name it in every deployment, a merchant in development alone.
  const service = { merchantId, name, pathPrefix: `/${name}`, upstream, price: '0.01' }
  await create(stack.operatorApiKey, 'services', service)
  return { merchantId, payee, apiKey, url: `${stack.gateway.url}/${name}`, calls, stop }
}
