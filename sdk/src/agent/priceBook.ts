import type { Offer } from './offer.ts'

/** Prices by origin and path prefix, and paths known to be free. Bounded; the least recently used goes first. */
export type PriceBook = {
  /** What this very request was told last, else the offer of the longest scope it is in, 'free', or undefined when nothing is known. */
  find(request: PricedRequest): Offer | 'free' | undefined
  /** Takes an offer that `url` answered. A scope that does not cover the URL itself is narrowed to its path. */
  learn(url: URL, offer: Offer): void
  /** The same, where another price was expected: it may be one for such requests alone. */
  learnChanged(request: PricedRequest, offer: Offer): void
  /** `url` was served without a payment. */
  learnFree(url: URL): void
  /** Whether anything was learned about the origin. */
  knows(origin: string): boolean
}

export type PricedRequest = { url: URL; method: string }

/** Scopes and free paths of one origin, and origins, that are remembered. */
const maxPathsPerOrigin = 500
const maxOrigins = 200

export function createPriceBook(): PriceBook {
  const origins = new Map<string, Map<string, Offer | 'free'>>()

  function remember(url: URL, path: string, entry: Offer | 'free'): void {
    const paths = origins.get(url.origin) ?? new Map<string, Offer | 'free'>()
    putNewest(origins, url.origin, paths, maxOrigins)
    putNewest(paths, path, entry, maxPathsPerOrigin)
  }

  function learn(url: URL, offer: Offer): void {
    const covers = prefixesOf(url.pathname).includes(offer.scope)
    remember(url, covers ? offer.scope : url.pathname, offer)
    if (offer.scope !== url.pathname && origins.get(url.origin)?.get(url.pathname) === 'free') {
      origins.get(url.origin)?.delete(url.pathname)
    }
  }

  return {
    find(request) {
      const { url } = request
      const paths = origins.get(url.origin)
      if (!paths) return undefined
      for (const key of [...namesOf(request), ...prefixesOf(url.pathname)]) {
        const entry = paths.get(key)
        // A free path is free by itself; it says nothing about the paths below.
        if (entry === undefined || (entry === 'free' && key !== url.pathname)) continue
        putNewest(origins, url.origin, paths, maxOrigins)
        putNewest(paths, key, entry, maxPathsPerOrigin)
        return entry
      }
      return undefined
    },
    learn,
    learnChanged(request, offer) {
      learn(request.url, offer)
      for (const name of namesOf(request)) remember(request.url, name, offer)
    },
    learnFree(url) {
      remember(url, url.pathname, 'free')
    },
    knows: (origin) => origins.has(origin),
  }
}

/** Where prices differ within a scope, they do so by these; the more exact one first. No path begins with a method. */
function namesOf({ url, method }: PricedRequest): string[] {
  return [`${method} ${url.pathname}${url.search}`, `${method} ${url.pathname}`]
}

/** Every scope a path is in, longest first: `/a/b` is in `/a/b`, `/a/`, `/a` and `/`. At most 64 levels deep. */
function prefixesOf(path: string): string[] {
  const prefixes = [path]
  let end = path.length
  for (let level = 0; level < 64 && end > 0; level++) {
    end = path.lastIndexOf('/', end - 1)
    if (end < 0) break
    prefixes.push(path.slice(0, end + 1))
    if (end > 0) prefixes.push(path.slice(0, end))
  }
  return prefixes
}

function putNewest<key, value>(map: Map<key, value>, key: key, value: value, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size <= max) return
  const oldest = map.keys().next()
  if (!oldest.done) map.delete(oldest.value)
}
