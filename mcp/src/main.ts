import { serve } from '@hono/node-server'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { createFileStore } from '@protocolbanks/stream-sdk/node'
import { loadConfig } from './config.ts'
import { createHttpApp } from './createHttpApp.ts'
import { createPaidTools } from './createPaidTools.ts'

// Wires the server of paid tools: over standard input and output, or over HTTP.

const { settings, ...config } = loadConfig()
const { tools, budget, ...limits } = settings
const paidTools = createPaidTools({
  tools,
  budget,
  limits,
  grant: config.GRANT,
  sessionKey: config.SESSION_KEY,
  store: config.STATE === undefined ? undefined : createFileStore(config.STATE),
})

if (config.PORT !== undefined && config.TOKEN !== undefined) {
  const app = createHttpApp({ createServer, token: config.TOKEN })
  serve({ fetch: app.fetch, hostname: config.HOST, port: config.PORT }, ({ address, port }) =>
    console.error(`http://${address}:${port}/mcp`),
  )
} else {
  // Standard output is the protocol's: whatever else is said goes to standard error.
  await createServer().connect(new StdioServerTransport())
}

function createServer(): McpServer {
  const server = new McpServer({ name: 'protocol-banks-stream', version: '0.1.0' })
  paidTools.register(server)
  return server
}
