import { type ApiKeyScope, hasScope } from '@protocolbanks/stream-db'
import type { Context, MiddlewareHandler } from 'hono'
import { routePath } from 'hono/route'
import { TrieRouter } from 'hono/router/trie-router'
import { problem } from '../problem.ts'
import type { ApiEnv } from './caller.ts'
import { routeScopes } from './routeScopes.ts'

/**
 * Lets a request through whose API key has the scope that its route asks for. A route that the table does not name is
 * not served to anybody, as if it did not exist.
 */
export function requireScope(
  scopes: Readonly<Record<string, ApiKeyScope | 'any'>> = routeScopes,
): MiddlewareHandler<ApiEnv> {
  const table = new TrieRouter<ApiKeyScope | 'any'>()
  for (const [route, scope] of Object.entries(scopes)) {
    const [method = '', path = ''] = route.split(' ')
    table.add(method, path, scope)
  }
  return async (c, next) => {
    const method = c.req.method === 'HEAD' ? 'GET' : c.req.method
    // In the order of the table.
    const [first] = table.match(method, pathBelow(c))[0]
    if (!first) return problem(404, 'route.unknown', 'The management API has no such route.')
    const [scope] = first
    const { scopes: have } = c.get('key')
    return scope === 'any' || hasScope(have, scope) ? next() : problem(...scopeMissing(scope, have))
  }
}

/** What a key is answered that may do other things only. */
export function scopeMissing(scope: ApiKeyScope, have: readonly string[]): Parameters<typeof problem> {
  const detail = `Needed: ${scope}. The key has: ${have.join(', ')}.`
  const hint = 'Use a key with this scope, or make one with POST /api/api-keys.'
  return [403, 'api_key.scope_missing', 'The API key may not do this.', { detail, hint }]
}

/** Without what the API is mounted at. */
function pathBelow(c: Context): string {
  const base = routePath(c).replace(/\/\*$/, '')
  return c.req.path.slice(base.length) || '/'
}
