import { createHash, timingSafeEqual } from 'node:crypto'
import {
  allScopes,
  authenticateApiKey,
  type Db,
  type KeyRights,
  type Tx,
  withService,
  withTenant,
} from '@protocolbanks/stream-db'
import type { MiddlewareHandler } from 'hono'
import { problem } from '../problem.ts'

/** Who asks. `actor` is what is written down: the key's id, or `operator` for the key of the configuration. */
export type Caller = { merchantId: string | null; actor: string }

/** Variables of every route of the management API. */
export type ApiEnv = {
  Variables: {
    caller: Caller
    /** What the key may do that the caller sent. */
    key: KeyRights
  }
}

/** Lets a request with a known API key through (RFC 6750, bearer), and says whose it is. */
export function authenticate(db: Db, operatorApiKey: string): MiddlewareHandler<ApiEnv> {
  const operatorHash = hashOf(operatorApiKey)
  return async (c, next) => {
    const key = /^Bearer +([\x21-\x7e]{1,200})$/i.exec(c.req.header('authorization') ?? '')?.[1]
    const known = key === undefined ? undefined : await callerOf(key)
    if (!known) {
      return problem(401, 'api_key.invalid', 'The API key is missing or not known.', {
        hint: 'Send an API key as `Authorization: Bearer pb_...`.',
        headers: { 'www-authenticate': 'Bearer', 'cache-control': 'no-store' },
      })
    }
    c.set('caller', known.caller)
    c.set('key', known.key)
    return next()
  }

  async function callerOf(key: string): Promise<ApiEnv['Variables'] | undefined> {
    // Hashes have one length, and comparing them takes the same time wherever they differ.
    if (timingSafeEqual(hashOf(key), operatorHash)) {
      return { caller: { merchantId: null, actor: 'operator' }, key: { scopes: [allScopes], expiresAt: null } }
    }
    const found = await authenticateApiKey(db, key)
    return found && { caller: { merchantId: found.merchantId, actor: found.apiKeyId }, key: found }
  }
}

/** One transaction as the caller: the operator over everything, a merchant inside their own rows. */
export function asCaller<T>(db: Db, { merchantId }: Caller, run: (tx: Tx) => Promise<T>): Promise<T> {
  return merchantId === null ? withService(db, run) : withTenant(db, merchantId, run)
}

/** Stops a merchant. */
export const operatorOnly: MiddlewareHandler<ApiEnv> = async (c, next) => {
  if (c.get('caller').merchantId === null) return next()
  return problem(...operatorRequired)
}

/** What a merchant is answered who asks for what only the operator may do. */
export const operatorRequired: Parameters<typeof problem> = [
  403,
  'operator.required',
  'Only the operator may do this.',
  { hint: 'Use an API key of the operator.' },
]

function hashOf(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}
