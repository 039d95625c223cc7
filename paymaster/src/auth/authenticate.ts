import { createHash, timingSafeEqual } from 'node:crypto'
import type { Caller } from '../policy/decideSponsorship.ts'

export type AuthenticateDeps = {
  operatorApiKey: string
  /** Of a key that Postgres knows: its merchant, or null for an operator's. */
  authenticateApiKey(key: string): Promise<{ merchantId: string | null } | undefined>
}

/** Who calls, by the key in `?apikey=` or `Authorization: Bearer`; undefined: nobody we know. */
export async function authenticate(
  { query, authorization }: { query: string | undefined; authorization: string | undefined },
  { operatorApiKey, authenticateApiKey }: AuthenticateDeps,
): Promise<Caller | undefined> {
  const key = query ?? /^Bearer (\S{1,256})$/i.exec(authorization ?? '')?.[1]
  if (key === undefined || key.length > 256) return undefined
  if (equalInConstantTime(key, operatorApiKey)) return { role: 'operator' }
  const found = await authenticateApiKey(key)
  if (!found) return undefined
  return found.merchantId === null ? { role: 'operator' } : { role: 'merchant', merchantId: found.merchantId }
}

function equalInConstantTime(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
