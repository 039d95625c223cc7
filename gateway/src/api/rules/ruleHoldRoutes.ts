import { applyRuleHold, type Db, getRuleHold, settleRuleHold } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { problem } from '../../problem.ts'
import { type ApiEnv, operatorOnly } from '../caller.ts'
import { describeRuleHolds } from '../openapi/operations/ruleOperations.ts'
import { idOf } from '../schemas.ts'

export type RuleHoldRoutesDeps = {
  db: Db
  clock(): number
  logger: Logger
  /** Copies an account from Postgres to the meter, now. */
  mirrorAccount(account: Address): Promise<boolean>
}

/**
 * `POST /:id/apply`: does what is due for a hold of a rule, so that every gateway has it with the answer: refuses its grant,
 * or lifts what rules hold of it and nothing else. For the operator's sentinel; repeating it does no harm.
 */
export function createRuleHoldRoutes({ db, clock, logger, mirrorAccount }: RuleHoldRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()
  routes.post('/:id/apply', operatorOnly, async (c) => {
    const id = idOf('rhd', c.req.param('id'))
    const now = () => new Date(clock())
    const applied = id && (await applyRuleHold(db, { id, now: now() }))
    if (!applied) {
      if (id && (await getRuleHold(db, id))) return c.json({ id, is: 'over' })
      return problem(404, 'rule.hold_unknown', 'There is no such hold of a rule.', {
        detail: `Hold: ${c.req.param('id').slice(0, 80)}`,
      })
    }
    try {
      await mirrorAccount(applied.hold.account)
    } catch (err) {
      logger.warn({ err, hold: id }, 'a hold of a rule has not reached the meter')
      return problem(503, 'meter.unavailable', 'The change is stored, but has not reached the meter.', {
        hint: 'Repeat it.',
        headers: { 'retry-after': '1' },
      })
    }
    await settleRuleHold(db, { ...applied, now: now() })
    return c.json({ id, is: applied.is })
  })
  describeRuleHolds(routes)
  return routes
}
