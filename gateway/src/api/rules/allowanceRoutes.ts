import { addAllowance, listAllowances, maxAllowances, removeAllowance } from '@protocolbanks/stream-db'
import { hex32Schema } from '@protocolbanks/stream-protocol'
import { type Env, Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../../problem.ts'
import { describeAllowances } from '../openapi/operations/ruleOperations.ts'
import { idOf, nonZeroAddressSchema, pageSchema } from '../schemas.ts'
import { validBody, validQuery } from '../validate.ts'
import { holderOf, type RuleRoutesDeps } from './ruleCaller.ts'
import { unknownAllowance, viewAllowance } from './ruleView.ts'

const entrySchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('grant'), value: hex32Schema }),
  z.strictObject({ kind: z.literal('payee'), value: nonZeroAddressSchema }),
  z.strictObject({
    kind: z.literal('service'),
    value: z.string().regex(/^svc_[0-9a-f]{32}$/, 'must be the id of a service'),
  }),
])

/** What own rules and, of an owner or the operator, the behaviour's score never stop. */
export function createAllowanceRoutes<E extends Env>(deps: RuleRoutesDeps<E>): Hono<E> {
  const { db, clock, callerOf, beforeChange } = deps
  const routes = new Hono<E>()

  routes.post('/', async (c) => {
    const caller = callerOf(c)
    beforeChange?.(c)
    const { kind, value } = await validBody(c, entrySchema)
    const entry = { holder: holderOf(caller), actor: caller.actor, kind, value: value.toLowerCase() }
    const added = await addAllowance(db, entry)
    if (added === 'too_many') {
      return problem(409, 'allowance.too_many', 'The allow list is full.', {
        detail: `Entries: ${maxAllowances}`,
        hint: 'Remove one that is not needed.',
      })
    }
    return c.json(viewAllowance(added), 201)
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const caller = callerOf(c)
    const { items, nextCursor } = await caller.run((tx) => listAllowances(tx, { ...page, holder: holderOf(caller) }))
    return c.json({ allowances: items.map(viewAllowance), nextCursor })
  })

  routes.delete('/:id', async (c) => {
    const caller = callerOf(c)
    beforeChange?.(c)
    const id = idOf('alw', c.req.param('id'))
    const removal = id && { holder: holderOf(caller), actor: caller.actor, id, now: new Date(clock()) }
    if (!removal || !(await removeAllowance(db, removal))) return unknownAllowance(c.req.param('id'))
    return c.body(null, 204)
  })

  describeAllowances(routes, { created: entrySchema })
  return routes
}
