// An Express server that charges per call: npm run merchant:express -w examples
import { PBStream } from '@protocolbanks/stream-sdk'
import express from 'express'

const { API_KEY = '', SERVICE = 'weather', GATEWAY_URL = 'http://127.0.0.1:4020', PORT = '4030' } = process.env
const stream = new PBStream({ apiKey: API_KEY, service: SERVICE, ratePerCall: '0.01', gatewayUrl: GATEWAY_URL })

const app = express()
app.use(express.json())
app.get('/', (_, res) => void res.send('GET /weather/:city costs 0.01 USDC.\n'))
app.use('/weather', stream.middleware())
app.get('/weather/:city', (req, res) => void res.json({ city: req.params.city, at: new Date().toISOString() }))

const server = app.listen(Number(PORT), '127.0.0.1', () => {
  const address = server.address()
  if (typeof address === 'object' && address) console.log(`http://127.0.0.1:${address.port}/weather/oslo`)
})
