import {
  type GrantLimits,
  getGrantLimits,
  maxLimitedPayees,
  type Queryable,
  strictestGrantLimits,
  toSpendingLimits,
} from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import { nonZeroAddressSchema } from './schemas.ts'
import { spendingLimitFields, viewSpendingLimits } from './spendingLimits.ts'

/** What a grant may spend, as a request sets it: it replaces what the same setter has set before. */
export function grantLimitsSchema(tokenDecimals: number) {
  const limits = z.strictObject(spendingLimitFields(tokenDecimals)).transform(toSpendingLimits)
  return z
    .strictObject({
      /** At all payees together. */
      all: limits.nullish(),
      payees: z
        .array(z.strictObject({ payee: nonZeroAddressSchema, limits }))
        .max(maxLimitedPayees)
        .default([])
        .refine((list) => new Set(list.map(({ payee }) => payee)).size === list.length, 'must name a payee once'),
    })
    .transform(({ all, payees }): GrantLimits => ({ all: all ?? undefined, payees }))
}

/** What owner and operator have set, and what holds: of both the stricter. */
export async function viewGrantLimits(db: Queryable, grantId: Hex, tokenDecimals: number) {
  const view = ({ all, payees }: GrantLimits) => ({
    all: all ? viewSpendingLimits(all, tokenDecimals) : null,
    payees: payees.map(({ payee, limits }) => ({ payee, limits: viewSpendingLimits(limits, tokenDecimals) })),
  })
  const effective = (await strictestGrantLimits(db, [grantId])).get(grantId) ?? { payees: [] }
  return {
    grantId,
    owner: view(await getGrantLimits(db, grantId, 'owner')),
    operator: view(await getGrantLimits(db, grantId, 'operator')),
    effective: view(effective),
  }
}
