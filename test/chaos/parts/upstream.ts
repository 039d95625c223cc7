import { createServer } from 'node:http'

// The merchants' API behind the gateways: says what it was asked for. A process of its own, which may die like any other.

const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ path: request.url }))
})
server.listen(Number(process.env.PORT), '127.0.0.1')
process.on('SIGTERM', () => server.close(() => process.exit(0)))
