// A chat that streams and is charged per token: npm run merchant:chat -w examples
import { serve } from '@hono/node-server'
import { PBStream } from '@protocolbanks/stream-sdk'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'

const { API_KEY = '', SERVICE = 'weather', GATEWAY_URL = 'http://127.0.0.1:4020', PORT = '4030' } = process.env
const stream = new PBStream({
  apiKey: API_KEY,
  service: SERVICE,
  price: {
    token: { input: { price: '0.15', per: 1_000_000 }, output: { price: '0.60', per: 1_000_000 } },
    max: '0.05',
  },
  gatewayUrl: GATEWAY_URL,
})

const app = new Hono()
app.use('/chat', stream.middleware())
app.post('/chat', async (c) => {
  const { prompt = '' } = await c.req.json<{ prompt?: string }>()
  // Where a model of yours would answer: it says each word of the prompt again.
  const words = prompt.split(/\s+/).filter((word) => word !== '')
  return streamSSE(c, async (events) => {
    for (const word of words) {
      if (events.aborted) return
      await events.writeSSE({ data: JSON.stringify({ choices: [{ delta: { content: `${word} ` } }] }) })
    }
    const usage = { prompt_tokens: words.length, completion_tokens: words.length }
    await events.writeSSE({ data: JSON.stringify({ choices: [], usage }) })
    await events.writeSSE({ data: '[DONE]' })
  })
})

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(PORT) }, ({ port }) => {
  console.log(`http://127.0.0.1:${port}/chat`)
})
