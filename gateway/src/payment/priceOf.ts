import { matchRoute, type PricedRoute } from '@protocolbanks/stream-protocol'
import type { Service } from '../services/serviceTable.ts'

/**
 * The service as one request is priced by it: one of its routes may have another price. What servers may understand in different
 * ways costs as much as the dearest; where that depends on use nobody can say which is, and it is undefined.
 *
 * @param url Path and query as received, with or without an origin.
 */
export function priceOf(service: Service, method: string, url: string): Service | undefined {
  const { routes } = service
  if (routes === undefined || routes.length === 0) return service
  const [path = '', query = ''] = splitUrl(url)
  const below = path.split('/').slice(service.pathPrefix.split('/').length).join('/')
  const route = matchRoute(routes, { method, path: below, query })
  if (route === undefined) return service
  if (route !== 'unclear') return variantOf(service, route)
  return [service, ...routes].some(isByUse) ? undefined : variantOf(service, dearestOf(service, routes))
}

type Price = Pick<PricedRoute, 'price' | 'pricing' | 'exactPrice'>

/** Of each service those that were asked for, so that an offer is made once. */
const variants = new WeakMap<Service, Map<Price, Service>>()

function variantOf(service: Service, price: Price | undefined): Service {
  if (price === undefined) return service
  const known = variants.get(service) ?? new Map<Price, Service>()
  variants.set(service, known)
  const variant = known.get(price) ?? { ...service, ...pricesOf(price) }
  known.set(price, variant)
  return variant
}

function pricesOf({ price, pricing, exactPrice }: Price): Pick<Service, 'price' | 'pricing' | 'exactPrice'> {
  return { price, pricing, exactPrice }
}

function isByUse({ pricing }: Pick<Service, 'pricing'>): boolean {
  return pricing !== undefined && pricing.kind !== 'call'
}

/** Undefined: the service's own price is. */
function dearestOf(service: Service, routes: readonly PricedRoute[]): PricedRoute | undefined {
  let dearest: PricedRoute | undefined
  for (const route of routes) if (route.price > (dearest?.price ?? service.price)) dearest = route
  return dearest
}

function splitUrl(url: string): string[] {
  const start = url.startsWith('/') ? 0 : url.indexOf('/', 8)
  const [target = ''] = url.slice(start).split('#')
  const question = target.indexOf('?')
  return question < 0 ? [target] : [target.slice(0, question), target.slice(question + 1)]
}
