// A merchant with the gateway in its own process: npm run merchant:self-hosted -w examples
import { serve } from '@hono/node-server'
import { createEmbeddedGateway } from '@protocolbanks/stream-gateway/embedded'
import { PBStream } from '@protocolbanks/stream-sdk'
import { Hono } from 'hono'
import { env } from './env.ts'

const gateway = await createEmbeddedGateway({
  databaseUrl: env('DATABASE_URL'),
  redisUrl: process.env.REDIS_URL,
  rpcUrl: env('RPC_URL'),
  chain: JSON.parse(env('CHAIN')),
  merchant: { name: 'weather bureau', payee: env('PAYEE') as `0x${string}` },
  services: [{ name: 'weather', price: '0.01' }],
})
const stream = new PBStream({ ...gateway.connection, service: 'weather', ratePerCall: '0.01' })

const app = new Hono()
app.get('/ready', async (c) => c.json(await gateway.readiness()))
app.use('/weather/*', stream.middleware())
app.get('/weather/:city', (c) => c.json({ city: c.req.param('city'), at: new Date().toISOString() }))

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(env('PORT', '4030')) }, ({ port }) => {
  console.log(`http://127.0.0.1:${port}/weather/oslo`)
})
// What was charged is journalled before the process ends.
process.once('SIGTERM', () => server.close(() => void gateway.stop()))
