import { type Db, listVoucherPolicies, setVoucherPolicyAsOwner, withOwner } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { type Context, Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { RateLimit } from '../owners/rateLimit.ts'
import { problem } from '../problem.ts'
import { writeRefusal } from './auditRefusals.ts'
import { describeVoucherPolicies } from './openapi/operations/grantOperations.ts'
import type { OwnerEnv } from './ownerCaller.ts'
import { grantIdSchema } from './schemas.ts'
import { takeOne } from './takeOne.ts'
import { validBody } from './validate.ts'

export type VoucherPolicyRoutesDeps = {
  db: Db
  logger: Logger
  /** Of what an account changes: each change is audited. */
  changes: RateLimit
}

/** null: the operator's default. */
const policySchema = z.strictObject({ policy: z.enum(['hold', 'settle']).nullable() })

/**
 * What an owner wants done with vouchers that were accepted before a grant is stopped: for the account, and for single
 * grants. It counts from the next stop on.
 */
export function createVoucherPolicyRoutes({ db, logger, changes }: VoucherPolicyRoutesDeps): Hono<OwnerEnv> {
  const routes = new Hono<OwnerEnv>()

  routes.get('/voucher-policy', async (c) => c.json(await read(c.get('owner').account)))

  routes.put('/voucher-policy', (c) => set(c, null, ''))

  routes.put('/grants/:id/voucher-policy', (c) => {
    const subject = c.req.param('id')
    return set(c, grantIdSchema.safeParse(subject).data, subject)
  })

  /** Undefined: it is no grant's id. */
  async function set(c: Context<OwnerEnv>, grantId: Hex | null | undefined, subject: string): Promise<Response> {
    const { account } = c.get('owner')
    takeOne(changes, account)
    const { policy } = await validBody(c, policySchema)
    const isSet =
      grantId !== undefined &&
      (await withOwner(db, account, (tx) => setVoucherPolicyAsOwner(tx, { account, grantId, policy })))
    return isSet ? c.json(await read(account)) : unknownGrant(c, subject)
  }

  async function read(account: Address) {
    const settings = await withOwner(db, account, (tx) => listVoucherPolicies(tx, account))
    return {
      account: settings.find(({ grantId }) => grantId === null)?.policy ?? null,
      grants: settings.flatMap(({ grantId, policy }) => (grantId === null ? [] : [{ grantId, policy }])),
    }
  }

  async function unknownGrant(c: Context<OwnerEnv>, subject: string): Promise<Response> {
    const { actor } = c.get('owner')
    await writeRefusal({ db, logger }, { actor, action: 'voucher_policy', subject, errorCode: 'grant.unknown' })
    return problem(404, 'grant.unknown', 'There is no such grant of your account.', {
      detail: `Grant: ${subject.slice(0, 80)}`,
    })
  }

  describeVoucherPolicies(routes, { policy: policySchema })
  return routes
}
