// A Next.js route handler that charges per call: npm run merchant:next -w examples
import { PBStream } from '@protocolbanks/stream-sdk'

// The build evaluates this module too: a key that is only known at run time needs another value there.
const { API_KEY = 'not-set', SERVICE = 'weather', GATEWAY_URL = 'http://127.0.0.1:4020' } = process.env
const stream = new PBStream({ apiKey: API_KEY, service: SERVICE, ratePerCall: '0.01', gatewayUrl: GATEWAY_URL })

export const GET = stream.route(async (_, { params }) => {
  const { city } = await params
  return Response.json({ city, at: new Date().toISOString() })
})

export const dynamic = 'force-dynamic'
