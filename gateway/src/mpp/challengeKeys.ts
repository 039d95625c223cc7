import { hkdfSync } from 'node:crypto'
import type { Chain } from '../payment/chain.ts'

/** What all gateways of a deployment share: the secret that makes challenges now, and those that did. */
export type ChallengeSecrets = { current: string; former: readonly string[] }

/** The first makes challenges, all know them again. */
export type ChallengeKeys = readonly [Uint8Array, ...Uint8Array[]]

/**
 * Keys of challenges, one of each secret (HKDF-SHA256). They are of one deployment alone: the same secret elsewhere, for
 * another chain or module, gives others.
 */
export function challengeKeys(
  { current, former }: ChallengeSecrets,
  { chainId, module }: Pick<Chain, 'chainId' | 'module'>,
): ChallengeKeys {
  const info = `protocolbanks mpp challenge 1|${chainId}|${module.toLowerCase()}`
  const keyOf = (secret: string) => new Uint8Array(hkdfSync('sha256', secret, '', info, 32))
  return [keyOf(current), ...former.map(keyOf)]
}
