import { createMerchant, type Db, getMerchant, listMerchants, type Merchant } from '@protocolbanks/stream-db'
import { Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { type ApiEnv, asCaller, operatorOnly } from './caller.ts'
import { describeMerchants } from './openapi/operations/merchantOperations.ts'
import { idOf, nameSchema, nonZeroAddressSchema, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'

const newMerchantSchema = z.strictObject({
  name: nameSchema,
  /** Where the merchant is paid, for good: one merchant has one payee. */
  payee: nonZeroAddressSchema,
  /** Sponsored gas per UTC day, wei, as a decimal string. */
  gasBudgetWeiPerDay: z
    .string()
    .regex(/^\d{1,38}$/, 'must be a whole number of wei, as a decimal string')
    .transform(BigInt)
    .optional(),
})

/** Merchants. The operator makes and lists them; a merchant sees itself. */
export function createMerchantRoutes({ db }: { db: Db }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()

  routes.post('/', operatorOnly, async (c) => {
    const merchant = await createMerchant(db, await validBody(c, newMerchantSchema))
    return c.json(toJson(merchant), 201, { location: `/api/merchants/${merchant.id}` })
  })

  routes.get('/', operatorOnly, async (c) => {
    const { items, nextCursor } = await listMerchants(db, validQuery(c, pageSchema))
    return c.json({ merchants: items.map(toJson), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const id = idOf('mer', c.req.param('id'))
    const merchant = id && (await asCaller(db, c.get('caller'), (queryable) => getMerchant(queryable, id)))
    return merchant ? c.json(toJson(merchant)) : unknownMerchant(c.req.param('id'))
  })

  describeMerchants(routes, { created: newMerchantSchema })
  return routes
}

export function unknownMerchant(id: string): Response {
  return problem(404, 'merchant.unknown', 'There is no such merchant.', { detail: `Merchant: ${id.slice(0, 80)}` })
}

function toJson({ gasBudgetWeiPerDay, ...merchant }: Merchant) {
  return { ...merchant, gasBudgetWeiPerDay: gasBudgetWeiPerDay.toString() }
}
