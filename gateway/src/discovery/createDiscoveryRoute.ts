import { hash } from 'node:crypto'
import type { Handler } from 'hono'
import type { ServiceTable } from '../services/serviceTable.ts'
import { type Discovery, describeServices } from './describeServices.ts'

/** Where clients look for what can be paid for. */
export const discoveryPath = '/openapi.json'

/** How long a client may keep it: prices are an advice here, and change rarely. */
const maxAgeSeconds = 60

/** Writing it takes time from paid calls, and anybody may ask for it. */
const writtenAgainMs = 5_000

/** `GET /openapi.json`, for anybody from any origin. It is written for a new table of services, and not more often than now and then. */
export function createDiscoveryRoute(
  services: Pick<ServiceTable, 'all'>,
  discovery: Discovery,
  clock: () => number,
): Handler {
  let written: { table: ReturnType<ServiceTable['all']>; atMs: number; body: string; etag: string } | undefined
  return (c) => {
    const table = services.all()
    const atMs = clock()
    if (!written || (written.table !== table && Math.abs(atMs - written.atMs) >= writtenAgainMs)) {
      const body = JSON.stringify(describeServices(table, discovery))
      written = { table, atMs, body, etag: `"${hash('sha256', body, 'base64url')}"` }
    }
    const { body, etag } = written
    const headers = { etag, 'cache-control': `public, max-age=${maxAgeSeconds}`, 'access-control-allow-origin': '*' }
    if (c.req.header('if-none-match') === etag) return c.body(null, 304, headers)
    return c.body(body, 200, { ...headers, 'content-type': 'application/json' })
  }
}
