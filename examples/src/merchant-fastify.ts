// A Fastify server that charges per call: npm run merchant:fastify -w examples
import { PBStream } from '@protocolbanks/stream-sdk'
import fastify from 'fastify'

const { API_KEY = '', SERVICE = 'weather', GATEWAY_URL = 'http://127.0.0.1:4020', PORT = '4030' } = process.env
const stream = new PBStream({ apiKey: API_KEY, service: SERVICE, ratePerCall: '0.01', gatewayUrl: GATEWAY_URL })

const app = fastify()
app.get('/', () => 'GET /weather/:city costs 0.01 USDC.\n')
app.get<{ Params: { city: string } }>('/weather/:city', { preHandler: stream.fastify() }, ({ params }) => ({
  city: params.city,
  at: new Date().toISOString(),
}))

console.log(`${await app.listen({ host: '127.0.0.1', port: Number(PORT) })}/weather/oslo`)
