import { isIP, isIPv4 } from 'node:net'

export type ClientAddressOptions = {
  /** Of the connection; undefined when it is gone. */
  remote: string | undefined
  /** `X-Forwarded-For`. */
  forwardedFor?: string | undefined
  /** Proxies of ours in front of this process, each of which appends whom it was asked by. 0: the header means nothing. */
  trustedHops?: number | undefined
}

/**
 * Who asks, as a key to count by: an IPv4 address, or the /64 of an IPv6 one, which one host has to itself. What a
 * client itself wrote in the header is never taken: only as many entries count, from the right, as there are proxies.
 */
export function clientAddress({ remote, forwardedFor, trustedHops = 0 }: ClientAddressOptions): string {
  const forwarded = (forwardedFor ?? '').split(',').map((part) => part.trim())
  const address = trustedHops > 0 ? forwarded.at(-trustedHops) : remote
  return keyOf(address ?? remote ?? '')
}

function keyOf(text: string): string {
  const address = text.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  if (isIP(address) === 0) return 'unknown'
  if (isIPv4(address)) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail ? tail.split(':') : []
  const zeros = tail === undefined ? [] : Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0')
  const groups = [...left, ...zeros, ...right].slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16))
  return `${groups.join(':')}::/64`
}
