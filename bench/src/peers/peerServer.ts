import { serve } from '@hono/node-server'
import { HTTPFacilitatorClient } from '@x402/core/server'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/server'
import { RedisChannelStorage } from '@x402/evm/batch-settlement/server/redis-storage'
import { ExactEvmScheme } from '@x402/evm/exact/server'
import { paymentMiddleware, x402ResourceServer } from '@x402/hono'
import { type Context, Hono } from 'hono'
import { evm, Mppx } from 'mppx/hono'
import { createClient } from 'redis'
import { type Address, getAddress } from 'viem'
import {
  maxTimeoutSeconds,
  network,
  paths,
  priceAtomic,
  receiverAuthorizer,
  tokenDomain,
  withdrawDelay,
} from './peerTerms.ts'

// The route of server.ts, sold by x402's and mppx' own middleware as their documents set them up.

const { REDIS_URL = '', FACILITATOR_URL = '', TOKEN = '', PAYEE = '', PORT = '0' } = process.env
const [token, payee] = [getAddress(TOKEN), getAddress(PAYEE)] as [Address, Address]
const redis = createClient({ url: REDIS_URL })
await redis.connect()

const batch = new BatchSettlementEvmScheme(payee, {
  storage: new RedisChannelStorage({ client: redis as never }),
  receiverAuthorizerSigner: receiverAuthorizer,
  withdrawDelay,
})
const priced = (scheme: string) => ({
  accepts: {
    scheme,
    network,
    payTo: payee,
    maxTimeoutSeconds,
    price: { amount: priceAtomic.toString(), asset: token, extra: tokenDomain },
  },
  description: 'weather',
})
const facilitator = new HTTPFacilitatorClient({ url: FACILITATOR_URL })
const resources = new x402ResourceServer(facilitator)
  .register(network, batch as never)
  .register(network, new ExactEvmScheme())
const mppx = Mppx.create({
  methods: [
    evm.charge({
      currency: token,
      recipient: payee,
      chainId: Number(network.slice('eip155:'.length)),
      decimals: 6,
      authorization: tokenDomain,
      x402: { facilitator: FACILITATOR_URL, maxTimeoutSeconds },
    }),
  ],
  secretKey: 'a secret of the bench, of 32 bytes or more',
})

const weather = (c: Context) => c.json({ city: 'Paris', sky: 'clear', celsius: 21 })
const app = new Hono()
app.get('/ready', (c) => c.json({ status: 'ready' }))
app.get('/cpu', (c) => c.json(process.cpuUsage()))
app.get('/free', weather)
app.use(
  paymentMiddleware(
    { [`GET ${paths.batch}`]: priced('batch-settlement'), [`GET ${paths.exact}`]: priced('exact') } as never,
    resources,
  ),
)
app.get(paths.batch, weather)
app.get(paths.exact, weather)
app.get(paths.mpp, mppx.charge({ amount: '0.0001' }), weather)

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(PORT) })
process.on('SIGTERM', async () => {
  server.close()
  redis.destroy()
  process.exit(0)
})
