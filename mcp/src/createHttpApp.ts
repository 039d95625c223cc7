import { createHash, timingSafeEqual } from 'node:crypto'
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import { Hono } from 'hono'

const maxRequestBytes = 1024 * 1024

/**
 * MCP over streamable HTTP at `/mcp`, without sessions: each request has a server of its own, and all share the budget.
 * Only bearers of the token are served. A page in a browser has none, so it cannot spend what a local server may.
 */
export function createHttpApp({ createServer, token }: { createServer(): McpServer; token: string }): Hono {
  const app = new Hono()
  app.all('/mcp', async (c) => {
    if (!isSame(c.req.header('authorization') ?? '', `Bearer ${token}`)) {
      return c.json({ error: 'Send the token of this server as `Authorization: Bearer`.' }, 401)
    }
    const transport = new WebStandardStreamableHTTPServerTransport({
      enableJsonResponse: true,
      maxRequestBodySize: maxRequestBytes,
    })
    const server = createServer()
    await server.connect(transport)
    try {
      return await transport.handleRequest(c.req.raw)
    } finally {
      await server.close()
    }
  })
  return app
}

/** In the same time whatever is sent. */
function isSame(left: string, right: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(left), digest(right))
}
