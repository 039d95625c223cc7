import { hash } from 'node:crypto'
import type { Handler } from 'hono'
import type { ServiceTable } from '../services/serviceTable.ts'
import { type Discovery, describeServices } from './describeServices.ts'

/** Where clients look for what can be paid for. */
export const discoveryPath = '/openapi.json'

/** How long a client may keep it: prices are an advice here, and change rarely. */
const maxAgeSeconds = 60

/** `GET /openapi.json`, for anybody from any origin. It is written once for each table of services. */
export function createDiscoveryRoute(services: Pick<ServiceTable, 'all'>, discovery: Discovery): Handler {
  let written: { table: ReturnType<ServiceTable['all']>; body: string; etag: string } | undefined
  return (c) => {
    const table = services.all()
    if (written?.table !== table) {
      const body = JSON.stringify(describeServices(table, discovery))
      written = { table, body, etag: `"${hash('sha256', body, 'base64url')}"` }
    }
    const { body, etag } = written
    const headers = { etag, 'cache-control': `public, max-age=${maxAgeSeconds}`, 'access-control-allow-origin': '*' }
    if (c.req.header('if-none-match') === etag) return c.body(null, 304, headers)
    return c.body(body, 200, { ...headers, 'content-type': 'application/json' })
  }
}
