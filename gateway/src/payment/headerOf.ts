import type { IncomingMessage } from 'node:http'
import type { Context } from 'hono'

/**
 * A header of the request, by its name in lower case. Node has read all of them when Hono runs on it; Hono would build
 * them anew, which costs more than what is done with most of them. Anywhere else Hono is asked.
 */
export function headerOf(c: Context, name: string): string | undefined {
  const incoming: Partial<IncomingMessage> | undefined = c.env?.incoming
  const headers = incoming?.headers
  if (!headers) return c.req.header(name)
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}
