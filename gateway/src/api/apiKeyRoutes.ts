import { type Db, getMerchant, issueApiKey, listApiKeys, revokeApiKey } from '@protocolbanks/stream-db'
import { Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { type ApiEnv, asCaller } from './caller.ts'
import { unknownMerchant } from './merchantRoutes.ts'
import { idOf, nameSchema, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'

const newKeySchema = z.strictObject({
  name: nameSchema,
  /** For the operator: whose key. Left out or null it is the operator's own. A merchant's keys are always its own. */
  merchantId: z.string().max(80).nullish(),
})

/** API keys. The key itself is in the answer that issues it, and nowhere else. */
export function createApiKeyRoutes({ db }: { db: Db }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()

  routes.post('/', async (c) => {
    const caller = c.get('caller')
    const { name, merchantId: wanted } = await validBody(c, newKeySchema)
    const merchantId = caller.merchantId ?? wanted ?? null
    if (wanted && wanted !== merchantId) return unknownMerchant(wanted)
    if (caller.merchantId === null && merchantId !== null) {
      const id = idOf('mer', merchantId)
      if (!id || !(await getMerchant(db, id))) return unknownMerchant(merchantId)
    }
    const { id, key } = await asCaller(db, caller, (queryable) => issueApiKey(queryable, { merchantId, name }))
    return c.json({ id, merchantId, name, key }, 201, { 'cache-control': 'no-store' })
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const { items, nextCursor } = await asCaller(db, c.get('caller'), (queryable) => listApiKeys(queryable, page))
    return c.json({ apiKeys: items, nextCursor })
  })

  routes.delete('/:id', async (c) => {
    const id = idOf('key', c.req.param('id'))
    const revoked = id && (await asCaller(db, c.get('caller'), (queryable) => revokeApiKey(queryable, id)))
    if (revoked) return c.body(null, 204)
    return problem(404, 'api_key.unknown', 'There is no such API key, or it was revoked before.', {
      detail: `API key: ${c.req.param('id').slice(0, 80)}`,
    })
  })

  return routes
}
