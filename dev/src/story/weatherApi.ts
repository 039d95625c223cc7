import { serve } from '@hono/node-server'
import { Hono } from 'hono'

// The merchant's API of the demo: knows nothing about payments. Started as a process of its own.

const skies = ['clear', 'cloudy', 'rain', 'snow', 'fog']

const app = new Hono()
app.get('/ready', (c) => c.json({ status: 'ready' }))
app.get('/:city', (c) => {
  const city = c.req.param('city')
  const seed = [...city].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) >>> 0
  return c.json({ city, sky: skies[seed % skies.length], celsius: (seed % 45) - 10 })
})

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(process.env.PORT) })
process.on('SIGTERM', () => server.close(() => process.exit(0)))
