import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Address } from 'viem'
import { freePort } from '../processes/freePort.ts'
import { readyWhenHttpOk } from '../processes/ready.ts'
import { startProcess } from '../processes/startProcess.ts'
import type { Stack } from '../stack/stack.ts'
import { type ManagementApi, managementApi } from './managementApi.ts'

export type Merchant = {
  payee: Address
  apiKey: string
  /** With the merchant's key. */
  api: ManagementApi
  /** Where agents call the paid service, at the gateway. */
  serviceUrl: string
  /** Ends the merchant's API; it runs behind the gateway. */
  stop(): Promise<void>
}

export const weatherPrice = '0.01'

/** A merchant opens shop: an HTTP API in a process of its own, an account at the gateway, and a price for each call. */
export async function openMerchant(stack: Stack): Promise<Merchant> {
  const payee = stack.accounts.payee.address
  const port = await freePort()
  const upstream = `http://127.0.0.1:${port}`
  const weather = await startProcess({
    name: 'weather API',
    command: process.execPath,
    args: ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL('./weatherApi.ts', import.meta.url))],
    env: { PORT: `${port}` },
    logFile: join(stack.logDirectory, 'weather.log'),
    ready: readyWhenHttpOk(`${upstream}/ready`),
  })
  try {
    const operator = managementApi(stack.gateway.url, stack.operatorApiKey)
    const { id: merchantId } = await operator.post<{ id: string }>('/merchants', { name: 'Weather Ltd.', payee })
    const { key: apiKey } = await operator.post<{ key: string }>('/api-keys', { merchantId, name: 'server' })
    const api = managementApi(stack.gateway.url, apiKey)
    await api.post('/services', { name: 'weather', pathPrefix: '/weather', upstream, price: weatherPrice })
    return { payee, apiKey, api, serviceUrl: `${stack.gateway.url}/weather`, stop: weather.stop }
  } catch (error) {
    await weather.stop()
    throw error
  }
}
