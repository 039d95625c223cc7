import type { IncomingMessage } from 'node:http'
import type { Context } from 'hono'

/**
 * All headers of the request, by their names in lower case. Node has read them when Hono runs on it; Hono would build
 * `Headers` of them first. Where a name came more than once the two read it differently, and Hono is asked.
 */
export function headersOf(c: Context): Readonly<Record<string, string | undefined>> {
  const incoming: Partial<IncomingMessage> | undefined = c.env?.incoming
  const { headers, rawHeaders, httpVersionMajor } = incoming ?? {}
  // In HTTP/2 what is asked for is among them.
  if (!headers || !rawHeaders || httpVersionMajor !== 1) return c.req.header()
  const isEachOnce = Object.keys(headers).length * 2 === rawHeaders.length && headers['set-cookie'] === undefined
  return isEachOnce ? (headers as Record<string, string>) : c.req.header()
}
