import type { LookupFunction } from 'node:net'
import { isPublicAddress } from './isPublicAddress.ts'

/**
 * Looks names up for connections that may go to the public internet alone: a name is refused when any of its addresses
 * is not public, without saying which address that is.
 */
export function publicLookup(lookup: LookupFunction): LookupFunction {
  return (host, options, callback) => {
    lookup(host, options, (error, address, family) => {
      if (error) return callback(error, address, family)
      const addresses = Array.isArray(address) ? address.map((entry) => entry.address) : [address]
      if (addresses.every(isPublicAddress)) return callback(null, address, family)
      callback(new NotPublicError(), address, family)
    })
  }
}

export class NotPublicError extends Error {
  constructor() {
    super('The host does not resolve to public addresses alone.')
  }
}
