import { type Address, type GrantSource, type Hex, isPayee } from '@protocolbanks/stream-protocol'
import { LRUCache } from 'lru-cache'

/** What never changes about a grant, and so can be kept in memory: its terms. Live state is the meter's. */
export type KnownGrant = {
  grantId: Hex
  account: Address
  sessionKey: Address
  token: Address
  source: GrantSource
  payeeRoot: Hex
  /** Of the session key, once a voucher was recovered: the next checks verify against it. */
  publicKey: Uint8Array | undefined
  /** Payees that proved to belong to the grant and have a channel. */
  payees: Set<Address>
}

export type GrantRecord = Pick<KnownGrant, 'grantId' | 'account' | 'sessionKey' | 'token' | 'source' | 'payeeRoot'>

export type GrantDirectory = {
  /** Undefined when no such grant was ever seen on-chain or registered. */
  find(grantId: Hex): Promise<KnownGrant | undefined>
  /** Makes sure that the payee belongs to the grant and that both have a channel. False when the proof fails. */
  admit(grant: KnownGrant, payee: Address, merchantId: string, proof: readonly Hex[]): Promise<boolean>
}

export type GrantDirectoryOptions = {
  load(grantId: Hex): Promise<GrantRecord | undefined>
  openChannel(channel: { grantId: Hex; payee: Address; merchantId: string; proof: readonly Hex[] }): Promise<void>
  maxGrants: number
  /** How long an unknown id is remembered as unknown, so that a flood of them does not reach Postgres. */
  unknownTtlMs: number
}

/** Cache of grant terms over Postgres, bounded; concurrent look-ups of one grant share one query. */
export function createGrantDirectory(options: GrantDirectoryOptions): GrantDirectory {
  const known = new LRUCache<Hex, KnownGrant>({ max: options.maxGrants })
  const unknown = new LRUCache<Hex, true>({ max: 10_000, ttl: options.unknownTtlMs })
  const loading = new Map<Hex, Promise<KnownGrant | undefined>>()

  async function load(grantId: Hex): Promise<KnownGrant | undefined> {
    const record = await options.load(grantId)
    if (!record) {
      unknown.set(grantId, true)
      return undefined
    }
    const grant: KnownGrant = { ...record, publicKey: undefined, payees: new Set() }
    known.set(grantId, grant)
    return grant
  }

  return {
    async find(grantId) {
      const grant = known.get(grantId)
      if (grant) return grant
      if (unknown.has(grantId)) return undefined
      const pending = loading.get(grantId) ?? load(grantId).finally(() => loading.delete(grantId))
      loading.set(grantId, pending)
      return pending
    },
    async admit(grant, payee, merchantId, proof) {
      if (grant.payees.has(payee)) return true
      if (!isPayee(grant.payeeRoot, payee, proof)) return false
      await options.openChannel({ grantId: grant.grantId, payee, merchantId, proof })
      grant.payees.add(payee)
      return true
    },
  }
}
