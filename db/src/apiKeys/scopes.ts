/**
 * What an API key may be allowed, area by area. Reading and writing are apart: neither brings the other along. What only the
 * operator may do stays the operator's, whatever a merchant's key is allowed.
 */
export const apiKeyScopes = [
  'charges:write',
  'receipts:read',
  'merchants:read',
  'merchants:write',
  'keys:read',
  'keys:write',
  'services:read',
  'services:write',
  'grants:read',
  'grants:write',
  'settlements:read',
  'settlements:write',
  'rules:read',
  'rules:write',
  'incidents:read',
  'incidents:write',
  'webhooks:read',
  'webhooks:write',
  'alerts:read',
  'alerts:write',
  'sponsorships:write',
  'usage:read',
  'usage:write',
  'traces:read',
  'audit:read',
  'reconciliations:read',
  'reconciliations:write',
] as const

export type ApiKeyScope = (typeof apiKeyScopes)[number]

/** Everything that a key's holder may do, what comes later included. */
export const allScopes = '*'

/** Whether a key with these scopes may do that. */
export function hasScope(scopes: readonly string[], scope: ApiKeyScope): boolean {
  return scopes.includes(allScopes) || scopes.includes(scope)
}

/**
 * Whether a key may do all that another may, for as long: only then may it make, change or revoke it, so that no key
 * ever brings more about than it has itself.
 */
export function coversKey(have: KeyRights, other: KeyRights): boolean {
  const isAsLong =
    have.expiresAt === null || (other.expiresAt !== null && other.expiresAt.getTime() <= have.expiresAt.getTime())
  return isAsLong && (have.scopes.includes(allScopes) || other.scopes.every((scope) => have.scopes.includes(scope)))
}

export type KeyRights = {
  scopes: readonly string[]
  /** Null: it does not end. */
  expiresAt: Date | null
}
