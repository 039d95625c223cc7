import type { PricedRoute, Pricing } from '@protocolbanks/stream-protocol'
import { mppIntent, mppMethod } from '../mpp/chargeRequest.ts'
import { type Chain, networkOf } from '../payment/chain.ts'
import type { Service } from '../services/serviceTable.ts'

export type Discovery = {
  /** Origin under which clients reach the services. */
  publicUrl: string
  chain: Pick<Chain, 'chainId'>
  /** Whether single payments are taken here: x402's `exact`, and MPP. */
  takesExact: boolean
}

type Method = (typeof methods)[number]
type Operation = Record<string, unknown>
type PathItem = Partial<Record<Method, Operation>> & Record<string, unknown>
/** By their shape: to OpenAPI, paths that differ in the names of their parameters alone are one. */
type Paths = Map<string, { path: string; item: PathItem }>
/** What one of these requests costs. */
type Price = Pick<Service, 'price' | 'exactPrice' | 'pricing'>

/** Those that OpenAPI knows and a browser does not ask by itself; each of them is paid. */
const methods = ['get', 'head', 'post', 'put', 'patch', 'delete'] as const
const withBody: readonly Method[] = ['post', 'put', 'patch']

/** Merchants make services and routes as they like: what is written of them has an end. */
const maxServices = 2_000
/** Beyond it, routes with prices of their own are left out. */
const maxPaths = 2_000

/**
 * OpenAPI 3.1 of what can be paid for behind this gateway: an entry for each service, and one for each of its routes that has
 * a price of its own, with `x-payment-info` (draft-payment-discovery-01). It is an advice: the 402 of a call says what counts.
 * OpenAPI has no wildcard, so `{path}` stands for all that may follow a prefix, slashes included.
 */
export function describeServices(services: readonly Service[], discovery: Discovery): object {
  const paths: Paths = new Map()
  const served = services.filter(({ upstream }) => upstream !== undefined)
  for (const service of served.toSorted((a, b) => (a.pathPrefix < b.pathPrefix ? -1 : 1)).slice(0, maxServices)) {
    for (const route of service.routes ?? []) {
      if (route.query === undefined && paths.size < maxPaths) addRoute(paths, service, route, discovery)
    }
    addPath(paths, `${service.pathPrefix}/{path}`, methods, describe(service, service, discovery))
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Paid services', version: '1' },
    servers: [{ url: discovery.publicUrl }],
    'x-service-info': { docs: { homepage: 'https://docs.protocolbanks.com' } },
    paths: Object.fromEntries([...paths.values()].map(({ path, item }) => [path, item])),
    components: { responses: { paymentRequired } },
  }
}

/** The answer to a call without a payment. */
const paymentRequired = {
  description: 'The call is paid. The headers say how much, and how it can be paid.',
  headers: {
    'PAYMENT-REQUIRED': { description: 'x402 version 2: base64 of its JSON.', schema: { type: 'string' } },
    'WWW-Authenticate': {
      description: 'MPP: a challenge of the scheme Payment, where single payments are taken.',
      schema: { type: 'string' },
    },
  },
  content: { 'application/problem+json': { schema: { type: 'object' } } },
}

function addRoute(paths: Paths, service: Service, route: PricedRoute, discovery: Discovery): void {
  const own = route.path.split('/').filter((segment) => segment !== '')
  const segments = own.map((segment) => (segment === '*' ? '{path}' : segment.replace(/^:(.*)$/, '{$1}')))
  const asked = route.method === 'GET' ? ['get', 'head'] : [route.method?.toLowerCase()]
  const those = route.method === undefined ? methods : methods.filter((method) => asked.includes(method))
  addPath(paths, [service.pathPrefix, ...segments].join('/'), those, describe(service, route, discovery))
}

/** The first that says what a method costs at a path is right, as it is for a request. */
function addPath(paths: Paths, path: string, those: readonly Method[], operation: (method: Method) => Operation): void {
  const names = [...path.matchAll(/\{([^{}]+)\}/g)].map(([, name]) => name)
  const parameters = names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
  const shape = path.replaceAll(/\{[^{}]+\}/g, '{}')
  const { item } = paths.get(shape) ?? { item: (parameters.length > 0 ? { parameters } : {}) as PathItem }
  for (const method of those) item[method] ??= operation(method)
  if (!paths.has(shape)) paths.set(shape, { path, item })
}

function describe(service: Service, price: Price, discovery: Discovery): (method: Method) => Operation {
  const offers = offersOf(service, price, discovery)
  return (method) => ({
    summary: service.name,
    'x-payment-info': { offers },
    ...(withBody.includes(method) && { requestBody: { content: { '*/*': {} } } }),
    responses: {
      default: { description: 'What the service answers, paid for.' },
      402: { $ref: '#/components/responses/paymentRequired' },
    },
  })
}

/** What pays for one call, each by itself. Amounts in base units; null: what it used, or what its query says, decides. */
function offersOf(service: Service, { price, exactPrice, pricing }: Price, { chain, takesExact }: Discovery): object[] {
  const isByQuery = service.routes?.some(({ query }) => query !== undefined) === true
  const amountOf = (amount: bigint, isFixed: boolean) => (isFixed && !isByQuery ? amount.toString() : null)
  const terms = { currency: service.token, recipient: service.payee }
  const network = networkOf(chain)
  const session = {
    ...{ intent: 'session', method: 'x402', scheme: 'session', network },
    ...{ amount: amountOf(price, pricing === undefined || pricing.kind === 'call'), ...terms },
    ...(noteOf(pricing, price) && { description: noteOf(pricing, price) }),
  }
  if (!takesExact || exactPrice === undefined) return [session]
  const single = { amount: amountOf(price > exactPrice ? price : exactPrice, true), ...terms }
  return [
    { intent: mppIntent, method: mppMethod, chainId: chain.chainId, ...single },
    { intent: mppIntent, method: 'x402', scheme: 'exact', network, ...single },
    session,
  ]
}

function noteOf(pricing: Pricing | undefined, price: bigint): string | undefined {
  if (pricing === undefined || pricing.kind === 'call') return undefined
  const unit = pricing.kind === 'unit' ? pricing.unit : pricing.kind
  return `Charged by the ${unit}; ${price} base units are held at most.`
}
