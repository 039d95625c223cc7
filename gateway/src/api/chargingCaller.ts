import { authenticateApiKey, type Db, hasScope } from '@protocolbanks/stream-db'
import { ApiRefusal } from './apiProblem.ts'
import { scopeMissing } from './requireScope.ts'

/**
 * Whose API key a request of the charges API or of the facilitator carries; `merchantId` null: the operator's. Undefined: it
 * is none.
 *
 * @throws ApiRefusal 403 when the key may not charge
 */
export async function chargingCaller(
  db: Db,
  authorization: string | undefined,
): Promise<{ merchantId: string | null } | undefined> {
  const [, key] = /^Bearer +(\S{1,200})$/i.exec(authorization ?? '') ?? []
  const found = key === undefined ? undefined : await authenticateApiKey(db, key)
  if (found && !hasScope(found.scopes, 'charges:write')) {
    throw new ApiRefusal(...scopeMissing('charges:write', found.scopes))
  }
  return found && { merchantId: found.merchantId }
}
