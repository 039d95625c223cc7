import {
  createService,
  type Db,
  getMerchant,
  getService,
  listServices,
  type Service,
  toSpendingLimits,
  updateService,
} from '@protocolbanks/stream-db'
import { formatAmount, formatPricing } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { z } from 'zod'
import type { Chain } from '../payment/chain.ts'
import { problem } from '../problem.ts'
import { ApiRefusal } from './apiProblem.ts'
import { type ApiEnv, asCaller, type Caller } from './caller.ts'
import { unknownMerchant } from './merchantRoutes.ts'
import { describeServices } from './openapi/operations/merchantOperations.ts'
import { idOf, pageSchema } from './schemas.ts'
import { serviceFields } from './serviceFields.ts'
import { viewSpendingLimits } from './spendingLimits.ts'
import { validBody, validQuery } from './validate.ts'

export type ServiceRoutesDeps = {
  db: Db
  chain: Pick<Chain, 'token'>
  tokenDecimals: number
  minExactPrice?: bigint | undefined
  /** Why a merchant's service may not have this upstream; undefined when it may. */
  checkUpstream(upstream: string): Promise<string | undefined>
  services: { invalidate(): void | Promise<void> }
}

/**
 * Services. Amounts are decimal strings of the token ('0.01') in requests; answers carry them in base units too
 * (`priceAtomic`).
 */
export function createServiceRoutes(deps: ServiceRoutesDeps): Hono<ApiEnv> {
  const { db, chain, tokenDecimals, services, minExactPrice } = deps
  const routes = new Hono<ApiEnv>()
  const fields = serviceFields({ tokenDecimals, minExactPrice })
  /** `merchantId` is for the operator; a merchant's services are its own. */
  const newServiceSchema = fields.extend({ merchantId: z.string().max(80).optional() })
  const changeSchema = fields.partial().refine((change) => Object.keys(change).length > 0, 'must change something')

  routes.post('/', async (c) => {
    const caller = c.get('caller')
    const { merchantId: wanted, upstream, exactPrice, ...service } = await validBody(c, newServiceSchema)
    const merchantId = caller.merchantId ?? wanted
    if (merchantId === undefined) {
      return problem(400, 'request.invalid', 'The request is not valid.', {
        detail: 'merchantId: the operator has to say whose service it is',
      })
    }
    if (wanted !== undefined && wanted !== merchantId) return unknownMerchant(wanted)
    if (caller.merchantId === null) {
      const id = idOf('mer', merchantId)
      if (!id || !(await getMerchant(db, id))) return unknownMerchant(merchantId)
    }
    const upstreamTrusted = await trustUpstream(caller, upstream)
    const created = await asCaller(db, caller, (queryable) =>
      createService(queryable, {
        ...service,
        ...toSpendingLimits(service),
        merchantId,
        token: chain.token,
        upstream: upstream ?? undefined,
        upstreamTrusted,
        exactPrice: exactPrice ?? undefined,
      }),
    )
    await services.invalidate()
    return c.json(toJson(created), 201, { location: `/api/services/${created.id}` })
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const { items, nextCursor } = await asCaller(db, c.get('caller'), (queryable) => listServices(queryable, page))
    return c.json({ services: items.map(toJson), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const id = idOf('svc', c.req.param('id'))
    const service = id && (await asCaller(db, c.get('caller'), (queryable) => getService(queryable, id)))
    return service ? c.json(toJson(service)) : unknownService(c.req.param('id'))
  })

  routes.patch('/:id', async (c) => {
    const change = await validBody(c, changeSchema)
    const id = idOf('svc', c.req.param('id'))
    const caller = c.get('caller')
    const upstreamTrusted = id === undefined ? undefined : await trustChange(caller, id, change.upstream)
    const service =
      id && (await asCaller(db, caller, (queryable) => updateService(queryable, id, { ...change, upstreamTrusted })))
    if (!service) return unknownService(c.req.param('id'))
    await services.invalidate()
    return c.json(toJson(service))
  })

  // The journal keeps naming it, so it is disabled rather than forgotten; PATCH {"enabled": true} brings it back.
  routes.delete('/:id', async (c) => {
    const id = idOf('svc', c.req.param('id'))
    const service =
      id && (await asCaller(db, c.get('caller'), (queryable) => updateService(queryable, id, { enabled: false })))
    if (!service) return unknownService(c.req.param('id'))
    await services.invalidate()
    return c.body(null, 204)
  })

  /** Undefined leaves the trust as it is: what does not change stays as the operator made it. */
  async function trustChange(caller: Caller, id: string, upstream: string | null | undefined) {
    if (upstream === undefined) return undefined
    const known = await asCaller(db, caller, (queryable) => getService(queryable, id))
    return known && known.upstream === (upstream ?? undefined) && caller.merchantId !== null
      ? undefined
      : trustUpstream(caller, upstream)
  }

  /** The operator's upstreams are trusted; a merchant's are looked at. @throws ApiRefusal 422 */
  async function trustUpstream({ merchantId }: Caller, upstream: string | null | undefined): Promise<boolean> {
    if (upstream === undefined || upstream === null) return false
    if (merchantId === null) return true
    const reason = await deps.checkUpstream(upstream)
    if (reason === undefined) return false
    throw new ApiRefusal(422, 'service.upstream_refused', 'The service cannot have this upstream.', {
      detail: reason,
      hint: 'Use a host on the public internet, or have the operator set the upstream or allow its host.',
    })
  }

  function toJson({ price, exactPrice, pricing, routes: priced, threshold, ...service }: Service) {
    const decimal = (atomic: bigint) => formatAmount(atomic, tokenDecimals)
    return {
      ...service,
      upstream: service.upstream ?? null,
      price: decimal(price),
      priceAtomic: price.toString(),
      exactPrice: exactPrice === undefined ? null : decimal(exactPrice),
      pricing: formatPricing(pricing, tokenDecimals),
      routes: priced.map((route) => ({
        ...route,
        price: decimal(route.price),
        pricing: formatPricing(route.pricing, tokenDecimals),
        exactPrice: route.exactPrice === undefined ? undefined : decimal(route.exactPrice),
      })),
      threshold: decimal(threshold),
      thresholdAtomic: threshold.toString(),
      ...viewSpendingLimits(service, tokenDecimals),
    }
  }

  describeServices(routes, { created: newServiceSchema, changed: changeSchema })
  return routes
}

function unknownService(id: string): Response {
  return problem(404, 'service.unknown', 'There is no such service.', { detail: `Service: ${id.slice(0, 80)}` })
}
