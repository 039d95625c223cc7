// The same merchant with Express: npm run merchant:express -w examples
import { PBStream } from '@protocolbanks/stream-sdk'
import express from 'express'
import { env } from './env.ts'

const stream = new PBStream({
  apiKey: env('API_KEY'),
  service: env('SERVICE', 'weather'),
  ratePerCall: '0.01',
  gatewayUrl: env('GATEWAY_URL', 'http://127.0.0.1:4020'),
})

const app = express()
app.get('/', (_, res) => void res.send('GET /weather/:city costs 0.01 USDC.\n'))
app.use('/weather', stream.middleware())
app.get('/weather/:city', (req, res) => void res.json({ city: req.params.city, at: new Date().toISOString() }))

const server = app.listen(Number(env('PORT', '4030')), '127.0.0.1', () => {
  const address = server.address()
  if (typeof address === 'object' && address) console.log(`http://127.0.0.1:${address.port}/weather/oslo`)
})
