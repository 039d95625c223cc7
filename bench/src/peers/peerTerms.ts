import { zeroHash } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

// What peers' servers, their facilitator and the load generator agree on.

export const network = 'eip155:31337'
export const chainId = 31_337
/** Base units, as our own route costs. */
export const priceAtomic = 100n
/** For as long as a payment that was signed before may wait. */
export const maxTimeoutSeconds = 3_600
export const tokenDomain = { name: 'USD Coin', version: '2' }
export const payer = privateKeyToAccount(`0x${'a9'.repeat(32)}`)
export const receiverAuthorizer = privateKeyToAccount(`0x${'b8'.repeat(32)}`)
/** A day, as x402 takes by default. */
export const withdrawDelay = 86_400
export const paths = { batch: '/batch', exact: '/exact', mpp: '/mpp' } as const
export type Peer = keyof typeof paths

/** Of the channel with this number: one connection pays in one channel, as it takes one payment at a time. */
export function saltOf(channel: number): `0x${string}` {
  return `0x${channel.toString(16).padStart(zeroHash.length - 2, '0')}`
}
