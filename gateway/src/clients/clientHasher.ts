import { createHmac } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** A client as usage events name it: 16 hex digits, the same for the same client; undefined when nobody knows who it is. */
export type ClientHasher = (address: string) => string | undefined

const maxClients = 50_000

/**
 * HMAC-SHA256 of the client's address (see clientAddress.ts), shortened: whoever has the journal but not the key cannot
 * tell whose it was, not even by trying all addresses. The newest 50,000 are remembered.
 */
export function createClientHasher(key: string): ClientHasher {
  const known = new LRUCache<string, string>({ max: maxClients })
  return (address) => {
    if (address === 'unknown') return undefined
    const found = known.get(address)
    if (found !== undefined) return found
    const hash = createHmac('sha256', key).update(address).digest('hex').slice(0, 16)
    known.set(address, hash)
    return hash
  }
}
