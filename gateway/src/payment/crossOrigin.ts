import type { MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { headerOf } from './headerOf.ts'

/** How long a browser remembers that it may call. Chromium's most. */
const maxAgeSeconds = 7_200

const anybody = cors({ origin: '*', exposeHeaders: ['*'], maxAge: maxAgeSeconds })

/**
 * Lets agents in pages of any origin pay and read what they are told (Fetch standard, CORS protocol). What a call may do
 * depends on its payment alone, never on a cookie, so no origin has to be trusted. A question beforehand (`OPTIONS` with
 * `Access-Control-Request-Method`) is answered here: nobody is charged for it. Requests without `Origin` pass untouched.
 */
export const crossOrigin: MiddlewareHandler = async (c, next) => {
  if (headerOf(c, 'origin') === undefined) return next()
  if (c.req.method === 'OPTIONS' && c.req.header('access-control-request-method') === undefined) return next()
  return anybody(c, next)
}

/** Lets pages of these origins use routes that need a session or a key; credentials are headers, so cookies stay out. */
export function originsOnly(origins: readonly string[]): MiddlewareHandler {
  const listed = cors({ origin: [...origins], exposeHeaders: ['*'], maxAge: maxAgeSeconds })
  return async (c, next) => (c.req.header('origin') === undefined ? next() : listed(c, next))
}
