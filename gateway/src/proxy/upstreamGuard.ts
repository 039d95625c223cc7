import { isIP, type LookupFunction } from 'node:net'
import { Agent, buildConnector, type Dispatcher } from 'undici'
import { checkPublicHost, hostOf } from '../network/checkPublicHost.ts'
import { isPublicAddress } from '../network/isPublicAddress.ts'
import { NotPublicError, publicLookup } from '../network/publicLookup.ts'
import type { Service } from '../services/serviceTable.ts'
import { hostAndPort } from './parseAllowedHost.ts'

export type UpstreamPolicy = {
  /** Hosts that any upstream may be at, as `parseAllowedHost` makes them: `api.internal`, or `10.0.3.7:8080`. */
  allowedHosts: readonly string[]
  /** For local development: upstreams may be anywhere. */
  allowPrivateNetworks: boolean
  lookup: LookupFunction
}

export type UpstreamGuard = {
  /** Why a merchant's service may not have this upstream; undefined when it may. */
  check(upstream: string): Promise<string | undefined>
  /** Connections of a service's upstream. */
  dispatcherOf(service: Pick<Service, 'upstreamTrusted'>): Dispatcher
}

const pool = { connections: 256, pipelining: 1 }

/**
 * Keeps upstreams that merchants name out of the operator's network. It looks when a service is saved, and again at the
 * address of every connection that is made: a name may point elsewhere by then. What the operator named is trusted. The
 * two have connections of their own, or a merchant could be given one that was made for the operator.
 */
export function createUpstreamGuard(policy: UpstreamPolicy): UpstreamGuard {
  const allowed = new Set(policy.allowedHosts)
  const { lookup } = policy
  const open = new Agent({ ...pool, connect: { lookup } })
  const guarded = policy.allowPrivateNetworks ? open : new Agent({ ...pool, connect: guardedConnector() })

  function isAllowed(host: string, port: string): boolean {
    const name = host.toLowerCase().replace(/\.$/, '')
    return allowed.has(name) || allowed.has(hostAndPort(name, port))
  }

  function guardedConnector(): buildConnector.connector {
    const connectOpen = buildConnector({ lookup })
    const connectPublic = buildConnector({ lookup: publicLookup(lookup) })
    return (options, callback) => {
      const { hostname, protocol, port } = options
      if (isAllowed(hostname, port || defaultPort(protocol))) return connectOpen(options, callback)
      // An address is connected to without being looked up.
      if (isIP(hostname) !== 0 && !isPublicAddress(hostname)) return callback(new NotPublicError(), null)
      connectPublic(options, callback)
    }
  }

  return {
    async check(upstream) {
      const url = new URL(upstream)
      const host = hostOf(url)
      if (policy.allowPrivateNetworks || isAllowed(host, url.port || defaultPort(url.protocol))) return undefined
      return checkPublicHost(host, lookup)
    },
    dispatcherOf: ({ upstreamTrusted }) => (upstreamTrusted ? open : guarded),
  }
}

function defaultPort(protocol: string): string {
  return protocol === 'https:' ? '443' : '80'
}
