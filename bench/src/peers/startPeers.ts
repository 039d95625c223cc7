import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deployTestUsdc } from '@protocolbanks/stream-contracts'
import {
  type ChainClients,
  createChainClients,
  createTempDir,
  devAccounts,
  freePort,
  mintTestUsdc,
  readyWhenHttpOk,
  startAnvil,
  startProcess,
  startRedis,
} from '@protocolbanks/stream-dev'
import type { Address } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { readCpu } from '../readCpu.ts'
import { payer } from './peerTerms.ts'

export type Peers = {
  url: string
  redisUrl: string
  token: Address
  payee: Address
  clients: ChainClients
  /** Processor time used, microseconds: of the server, and of the facilitator that works for it. */
  cpuUs(): Promise<{ server: number; facilitator: number }>
  stop(): Promise<void>
}

/** A chain, x402's facilitator on it, and the server of peerServer.ts, each a process of its own. */
export async function startPeers(): Promise<Peers> {
  const [anvil, redis, directory, port, facilitatorPort] = await Promise.all([
    startAnvil(),
    startRedis(),
    createTempDir('peers'),
    freePort(),
    freePort(),
  ])
  const stops = [directory.remove, anvil.stop, async () => redis?.stop()]
  const stop = async () => {
    for (const one of stops.splice(0).reverse()) await one()
  }
  try {
    if (!redis) throw new Error('x402 batch-settlement is measured on Redis: install redis-server, or set REDIS_URL.')
    const clients = createChainClients(anvil.url, privateKeyToAccount(devAccounts.operator.privateKey))
    const token = await deployTestUsdc(clients)
    const payee = devAccounts.payee.address
    // Who has coins already costs less to pay.
    for (const to of [payer.address, payee]) await mintTestUsdc(clients, { token, to, amountAtomic: 10n ** 15n })

    const url = `http://127.0.0.1:${port}`
    const facilitatorUrl = `http://127.0.0.1:${facilitatorPort}`
    const start = async (name: string, ready: string, env: Record<string, string>) => {
      const { stop: stopOne } = await startProcess({
        name: `bench ${name}`,
        command: process.execPath,
        args: ['--import', import.meta.resolve('tsx'), join(fileURLToPath(import.meta.url), '..', `${name}.ts`)],
        env: { NODE_ENV: 'production', ...env },
        logFile: join(directory.path, `${name}.log`),
        ready: readyWhenHttpOk(ready),
        timeoutMs: 120_000,
      })
      stops.push(stopOne)
    }
    await start('facilitator', `${facilitatorUrl}/supported`, { CHAIN_URL: anvil.url, PORT: `${facilitatorPort}` })
    await start('peerServer', `${url}/ready`, {
      REDIS_URL: redis.url,
      FACILITATOR_URL: facilitatorUrl,
      TOKEN: token,
      PAYEE: payee,
      PORT: `${port}`,
    })
    return {
      ...{ url, redisUrl: redis.url, token, payee, clients, stop },
      cpuUs: async () => ({ server: await readCpu(url), facilitator: await readCpu(facilitatorUrl) }),
    }
  } catch (error) {
    await stop()
    throw error
  }
}
