import type { Pricing } from './pricing.ts'

/**
 * Another price for some of a service's requests. `path` is below the service's prefix: segments that are given, `:name` for any
 * one, and `*` at the end for any number of them.
 *
 * @example const route: PricedRoute = { method: 'POST', path: '/images/:size', price: 40_000n, pricing: { kind: 'call' } }
 */
export type PricedRoute = {
  /** In upper case; left out: all. GET holds for HEAD too. */
  method?: string | undefined
  path: string
  /** Parameters that the request's query must have, each once and with this value. */
  query?: Readonly<Record<string, string>> | undefined
  price: bigint
  pricing: Pricing
  /** What a call costs by x402's `exact`; left out: it is not taken. */
  exactPrice?: bigint | undefined
}

export type RouteRequest = {
  method: string
  /** Below the service's prefix, as received. */
  path: string
  /** As received, without the question mark. */
  query: string
}

/**
 * The first route that a request belongs to; undefined when it is of none. `'unclear'` when servers may understand the request in
 * different ways (a path that stays encoded, a parameter that comes twice): it should cost as much as the dearest.
 *
 * Paths compare decoded, without case, and without empty segments or a slash at the end, as lenient servers do.
 */
export function matchRoute<route extends Pick<PricedRoute, 'method' | 'path' | 'query'>>(
  routes: readonly route[],
  { method, path, query }: RouteRequest,
): route | 'unclear' | undefined {
  const segments = toSegments(path)
  if (!segments) return 'unclear'
  const parameters = new URLSearchParams(query)
  // What answers GET answers HEAD.
  const asked = method.toUpperCase() === 'HEAD' ? 'GET' : method.toUpperCase()
  for (const route of routes) {
    if (route.method !== undefined && route.method !== asked) continue
    if (!matchesPath(route.path, segments)) continue
    const fits = matchesQuery(route.query ?? {}, parameters)
    if (fits === 'unclear') return 'unclear'
    if (fits) return route
  }
  return undefined
}

/** Undefined where it is not certain what they are. */
function toSegments(path: string): string[] | undefined {
  // A slash that is encoded may part segments or not.
  if (/%2f/i.test(path)) return undefined
  let decoded: string
  try {
    decoded = decodeURIComponent(path)
  } catch {
    return undefined
  }
  if (/[\\%;\p{Cc}]/u.test(decoded)) return undefined
  const segments = decoded
    .toLowerCase()
    .split('/')
    .filter((segment) => segment !== '')
  return segments.includes('.') || segments.includes('..') ? undefined : segments
}

function matchesPath(pattern: string, segments: readonly string[]): boolean {
  const wanted = pattern.split('/').filter((segment) => segment !== '')
  const isOpen = wanted.at(-1) === '*'
  if (isOpen) wanted.pop()
  if (isOpen ? segments.length < wanted.length : segments.length !== wanted.length) return false
  return wanted.every((one, index) => one.startsWith(':') || one.toLowerCase() === segments[index])
}

function matchesQuery(wanted: Readonly<Record<string, string>>, parameters: URLSearchParams): boolean | 'unclear' {
  for (const [name, value] of Object.entries(wanted)) {
    const given = parameters.getAll(name)
    if (given.length > 1) return 'unclear'
    if (given[0] !== value) return false
  }
  return true
}
