import {
  type ApiKey,
  allScopes,
  apiKeyScopes,
  coversKey,
  type Db,
  getMerchant,
  issueApiKey,
  listApiKeys,
  lockApiKey,
  maxOverlapSeconds,
  revokeApiKey,
  rotateApiKey,
  type Tx,
} from '@protocolbanks/stream-db'
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { ApiRefusal } from './apiProblem.ts'
import { type ApiEnv, asCaller } from './caller.ts'
import { unknownMerchant } from './merchantRoutes.ts'
import { describeApiKeys } from './openapi/operations/merchantOperations.ts'
import { idOf, nameSchema, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'

const noStore = { 'cache-control': 'no-store' }

export const newKeySchema = z.strictObject({
  name: nameSchema,
  /** For the operator: whose key. Left out or null it is the operator's own. A merchant's keys are always its own. */
  merchantId: z.string().max(80).nullish(),
  /** What it may do; what the key may that asks, by default. */
  scopes: z
    .array(z.enum([allScopes, ...apiKeyScopes]))
    .min(1)
    .max(apiKeyScopes.length)
    .transform((scopes) => (scopes.includes(allScopes) ? [allScopes] : [...new Set(scopes)]))
    .optional(),
  /** When it ends by itself. It does not by default, or when the key does that asks. */
  expiresAt: z.iso
    .datetime({ offset: true })
    .transform((text) => new Date(text))
    .nullish(),
})

export const rotationSchema = z
  .strictObject({ overlapSeconds: z.number().int().min(0).max(maxOverlapSeconds).default(3_600) })
  .default({ overlapSeconds: 3_600 })

/**
 * API keys. The key itself is in the answer that issues or rotates it, and nowhere else. A key makes, rotates and revokes
 * only keys that may do no more than itself, and for no longer.
 */
export function createApiKeyRoutes({ db, clock }: { db: Db; clock(): number }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()

  routes.post('/', async (c) => {
    const caller = c.get('caller')
    const own = c.get('key')
    const { name, merchantId: wanted, ...asked } = await validBody(c, newKeySchema)
    const merchantId = caller.merchantId ?? wanted ?? null
    if (wanted && wanted !== merchantId) return unknownMerchant(wanted)
    if (caller.merchantId === null && merchantId !== null) {
      const id = idOf('mer', merchantId)
      if (!id || !(await getMerchant(db, id))) return unknownMerchant(merchantId)
    }
    const { scopes = [...own.scopes], expiresAt = own.expiresAt } = asked
    if (expiresAt !== null && expiresAt.getTime() <= clock()) {
      throw new ApiRefusal(400, 'request.invalid', 'The request is not valid.', { detail: 'expiresAt: is in the past' })
    }
    if (!coversKey(own, { scopes, expiresAt })) throw beyondOwn(own)
    const { id, key } = await asCaller(db, caller, (tx) => issueApiKey(tx, { merchantId, name, scopes, expiresAt }))
    return c.json({ id, merchantId, name, key, scopes, expiresAt }, 201, noStore)
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const { items, nextCursor } = await asCaller(db, c.get('caller'), (queryable) => listApiKeys(queryable, page))
    return c.json({ apiKeys: items, nextCursor })
  })

  routes.post('/:id/rotate', async (c) => {
    const { overlapSeconds } = await validBody(c, rotationSchema)
    const rotated = await change(c, (tx, { id }) => rotateApiKey(tx, id, overlapSeconds))
    return rotated ? c.json(rotated, 200, noStore) : unknownKey(c)
  })

  routes.delete('/:id', async (c) => {
    const revoked = await change(c, (tx, { id }) => revokeApiKey(tx, id))
    return revoked ? c.body(null, 204) : unknownKey(c)
  })

  /** In one transaction with the look at what the key may do. Undefined: the caller has no such key. */
  async function change<T>(c: Context<ApiEnv>, run: (tx: Tx, key: ApiKey) => Promise<T>): Promise<T | undefined> {
    const id = idOf('key', c.req.param('id') ?? '')
    if (!id) return undefined
    return asCaller(db, c.get('caller'), async (tx) => {
      const key = await lockApiKey(tx, id)
      if (!key) return undefined
      if (!coversKey(c.get('key'), key)) throw beyondOwn(c.get('key'))
      return run(tx, key)
    })
  }

  describeApiKeys(routes, { created: newKeySchema, rotated: rotationSchema })
  return routes
}

function unknownKey(c: Context): Response {
  return problem(404, 'api_key.unknown', 'There is no such API key, or it was revoked before or has ended.', {
    detail: `API key: ${(c.req.param('id') ?? '').slice(0, 80)}`,
  })
}

function beyondOwn({ scopes, expiresAt }: { scopes: readonly string[]; expiresAt: Date | null }): ApiRefusal {
  const until = expiresAt === null ? 'without end' : `until ${expiresAt.toISOString()}`
  return new ApiRefusal(403, 'api_key.beyond_own', 'An API key gives no more than it has, and for no longer.', {
    detail: `The key that asks has: ${scopes.join(', ')}, ${until}.`,
    hint: 'Ask for less, or use a key with more.',
  })
}
