import { isIP } from 'node:net'
import { hostOf } from '../network/checkPublicHost.ts'

/**
 * One entry of a list of allowed hosts, as they are compared; undefined when it is none. Addresses may be written in any
 * way that a URL allows.
 *
 * @example parseAllowedHost('API.example.com') // 'api.example.com'
 * @example parseAllowedHost('[::1]:8080') // '[::1]:8080'
 */
export function parseAllowedHost(text: string): string | undefined {
  const [, name, port] = /^(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\\[\]]+)(?::([1-9]\d{0,4}))?$/.exec(text) ?? []
  if (name === undefined || !URL.canParse(`http://${name}`) || Number(port ?? 0) > 65_535) return undefined
  const host = hostOf(new URL(`http://${name}`)).replace(/\.$/, '')
  return port === undefined ? host : hostAndPort(host, port)
}

/** A host with its port, as they are compared. */
export function hostAndPort(host: string, port: string): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}
