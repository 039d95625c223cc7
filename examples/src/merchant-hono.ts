// A Hono server that charges per call: npm run merchant:hono -w examples
import { serve } from '@hono/node-server'
import { PBStream } from '@protocolbanks/stream-sdk'
import { Hono } from 'hono'

const { API_KEY = '', SERVICE = 'weather', GATEWAY_URL = 'http://127.0.0.1:4020', PORT = '4030' } = process.env
const stream = new PBStream({ apiKey: API_KEY, service: SERVICE, ratePerCall: '0.01', gatewayUrl: GATEWAY_URL })

const app = new Hono()
app.get('/', (c) => c.text('GET /weather/:city costs 0.01 USDC.\n'))
app.use('/weather/*', stream.middleware())
app.get('/weather/:city', (c) => c.json({ city: c.req.param('city'), at: new Date().toISOString() }))

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(PORT) }, ({ port }) => {
  console.log(`http://127.0.0.1:${port}/weather/oslo`)
})
