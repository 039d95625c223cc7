import { isIP, type LookupFunction } from 'node:net'
import { isPublicAddress } from './isPublicAddress.ts'

/** The host of a URL as connections are made to it: an IPv6 address without its brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '')
}

/** False for an address that is not public. A name passes: where it points is seen when it is looked up. */
export function mayBePublic(host: string): boolean {
  return isIP(host) === 0 || isPublicAddress(host)
}

/**
 * Why the host is none of the public internet at this moment: everything it resolves to has to be public. Undefined when
 * it is.
 */
export async function checkPublicHost(host: string, lookup: LookupFunction): Promise<string | undefined> {
  if (!mayBePublic(host)) return 'Its host is not a public address.'
  if (isIP(host) !== 0) return undefined
  const addresses = await resolve(host, lookup)
  if (addresses.length === 0) return 'Its host cannot be resolved.'
  return addresses.every(isPublicAddress) ? undefined : 'Its host does not resolve to public addresses alone.'
}

function resolve(host: string, lookup: LookupFunction): Promise<string[]> {
  return new Promise((done) => {
    lookup(host, { all: true }, (error, addresses) => {
      if (error) return done([])
      done(Array.isArray(addresses) ? addresses.map(({ address }) => address) : [addresses])
    })
  })
}
