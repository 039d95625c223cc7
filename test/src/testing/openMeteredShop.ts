import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Stack } from '@protocolbanks/stream-dev'
import type { PricingJson } from '@protocolbanks/stream-protocol'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { manage } from './manage.ts'
import type { Shop } from './openShop.ts'

/** One priced API behind the gateway. Prices are decimal strings of the token. */
export type MeteredService = {
  /** Most that a call, or a segment of a stream, holds. */
  price: string
  pricing?: PricingJson
  routes?: { method?: string; path: string; query?: Record<string, string>; price: string }[]
  voucherGraceMs?: number
  serve(request: IncomingMessage, response: ServerResponse, url: URL): void
}

/** A merchant whose services are priced by use. `urls` has one for each, by its name. */
export async function openMeteredShop<name extends string>(
  stack: Stack,
  label: string,
  services: Record<name, MeteredService>,
): Promise<Shop & { urls: Record<name, string> }> {
  const calls: string[] = []
  const names = Object.keys(services) as name[]
  const server = createServer((request, response) => {
    calls.push(request.url ?? '')
    const url = new URL(request.url ?? '/', 'http://upstream')
    const name = names.find((one) => url.pathname.startsWith(`/${one}`))
    if (name === undefined) response.writeHead(404).end()
    else services[name].serve(request, response, url)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })

  const create = async <body>(path: string, json: unknown): Promise<body> => {
    const { status, body } = await manage<body>(stack, stack.operatorApiKey, `POST /${path}`, json)
    if (status === 201) return body
    await stop()
    throw new Error(`POST /api/${path} was answered ${status}: ${JSON.stringify(body)}`)
  }
  const payee = privateKeyToAddress(generatePrivateKey())
  const { id: merchantId } = await create<{ id: string }>('merchants', { name: label, payee })
  const { key: apiKey } = await create<{ key: string }>('api-keys', { merchantId, name: label })
  for (const name of names) {
    const { serve: _, ...priced } = services[name]
    const upstream = `http://127.0.0.1:${port}/${name}`
    await create('services', { merchantId, name, pathPrefix: `/${label}/${name}`, upstream, ...priced })
  }
  const url = `${stack.gateway.url}/${label}`
  const urls = Object.fromEntries(names.map((name) => [name, `${url}/${name}`])) as Record<name, string>
  return { merchantId, payee, apiKey, url, urls, calls, stop }
}
