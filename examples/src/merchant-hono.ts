// A merchant's own Hono server that charges per call: npm run merchant:hono -w examples
import { serve } from '@hono/node-server'
import { PBStream } from '@protocolbanks/stream-sdk'
import { Hono } from 'hono'
import { env } from './env.ts'

const stream = new PBStream({
  apiKey: env('API_KEY'),
  service: env('SERVICE', 'weather'),
  ratePerCall: '0.01',
  gatewayUrl: env('GATEWAY_URL', 'http://127.0.0.1:4020'),
})

const app = new Hono()
app.get('/', (c) => c.text('GET /weather/:city costs 0.01 USDC.\n'))
app.use('/weather/*', stream.middleware())
app.get('/weather/:city', (c) => c.json({ city: c.req.param('city'), at: new Date().toISOString() }))

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(env('PORT', '4030')) }, ({ port }) => {
  console.log(`http://127.0.0.1:${port}/weather/oslo`)
})
