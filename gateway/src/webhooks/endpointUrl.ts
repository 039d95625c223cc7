import type { LookupFunction } from 'node:net'
import { isIP } from 'node:net'
import { isPublicAddress } from './isPublicAddress.ts'

export const maxUrlLength = 2_000

export type UrlPolicy = {
  /** For local development: private networks, and http, are allowed. */
  allowPrivateNetworks: boolean
}

export type EndpointUrl = { ok: true; url: URL } | { ok: false; reason: string }

/**
 * Reads the URL of an endpoint. Hosts are as the URL standard reads them, so that `0x7f.1` and `2130706433` are the
 * addresses that a connection would go to. A name passes: where it points is seen when it is looked up.
 */
export function parseEndpointUrl(text: string, { allowPrivateNetworks }: UrlPolicy): EndpointUrl {
  if (text.length > maxUrlLength) return refused(`It is longer than ${maxUrlLength} characters.`)
  if (!URL.canParse(text)) return refused('It is not an absolute URL.')
  const url = new URL(text)
  if (url.protocol !== 'https:' && !(allowPrivateNetworks && url.protocol === 'http:')) {
    return refused('It does not begin with https://.')
  }
  if (url.username !== '' || url.password !== '') return refused('It has a user or a password in it.')
  if (url.hash !== '') return refused('It has a fragment (#).')
  const literal = url.hostname.replace(/^\[|\]$/g, '')
  if (!allowPrivateNetworks && isIP(literal) !== 0 && !isPublicAddress(literal)) {
    return refused('Its host is not a public address.')
  }
  return { ok: true, url }
}

/** The same, and everything that its host resolves to at this moment has to be public. */
export async function checkEndpointUrl(
  text: string,
  { lookup, ...policy }: UrlPolicy & { lookup: LookupFunction },
): Promise<EndpointUrl> {
  const parsed = parseEndpointUrl(text, policy)
  if (!parsed.ok || policy.allowPrivateNetworks) return parsed
  const host = parsed.url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) !== 0) return parsed
  const addresses = await resolve(host, lookup)
  if (addresses.length === 0) return refused('Its host cannot be resolved.')
  if (!addresses.every(isPublicAddress)) return refused('Its host does not resolve to public addresses alone.')
  return parsed
}

function resolve(host: string, lookup: LookupFunction): Promise<string[]> {
  return new Promise((done) => {
    lookup(host, { all: true }, (error, addresses) => {
      if (error) return done([])
      done(Array.isArray(addresses) ? addresses.map(({ address }) => address) : [addresses])
    })
  })
}

function refused(reason: string): EndpointUrl {
  return { ok: false, reason }
}
