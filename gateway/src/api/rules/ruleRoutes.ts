import {
  changeRule,
  createRule,
  getDryRun,
  getRule,
  lastDryRunOf,
  listRules,
  listRuleVersions,
  maxRules,
  type Rule,
  setRuleState,
} from '@protocolbanks/stream-db'
import { type Context, type Env, Hono } from 'hono'
import { problem } from '../../problem.ts'
import { describeRules } from '../openapi/operations/ruleOperations.ts'
import { idOf, pageSchema } from '../schemas.ts'
import { validBody, validQuery } from '../validate.ts'
import { createAllowanceRoutes } from './allowanceRoutes.ts'
import { createDryRunRoutes } from './dryRunRoutes.ts'
import { holderOf, type RuleCaller, type RuleRoutesDeps } from './ruleCaller.ts'
import { assertRule, newRuleSchema, ruleChangeSchema } from './ruleSchemas.ts'
import { unknownRule, viewRule, viewVersion } from './ruleView.ts'

/**
 * Rules about spending, which whoever asks has written, with their versions; below `/dry-runs` what they would have done, and
 * below `/allow-list` what they spare. Reading is bound by row-level security; changes are the service's, with their audit
 * entry, and hold by their conditions to whose the rule is.
 */
export function createRuleRoutes<E extends Env>(deps: RuleRoutesDeps<E>): Hono<E> {
  const { db, callerOf, beforeChange } = deps
  const routes = new Hono<E>()
  routes.route('/dry-runs', createDryRunRoutes(deps))
  routes.route('/allow-list', createAllowanceRoutes(deps))

  routes.post('/', async (c) => {
    const caller = callerOf(c)
    beforeChange?.(c)
    const terms = await validBody(c, newRuleSchema)
    const holder = holderOf(caller)
    assertRule(holder, terms)
    const rule = await createRule(db, { holder, actor: caller.actor, terms })
    if (!rule) {
      return problem(409, 'rule.too_many', 'There are as many rules as there may be.', {
        detail: `Rules: ${maxRules}`,
        hint: 'Delete one that is not needed, or change it.',
      })
    }
    return c.json(await show(caller, rule), 201)
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const caller = callerOf(c)
    const { items, nextCursor } = await caller.run((tx) => listRules(tx, { ...page, holder: holderOf(caller) }))
    return c.json({ rules: items.map(viewRule), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const caller = callerOf(c)
    const rule = await find(caller, c.req.param('id'))
    return rule ? c.json(await show(caller, rule)) : unknownRule(c.req.param('id'))
  })

  routes.get('/:id/versions', async (c) => {
    const page = validQuery(c, pageSchema)
    const caller = callerOf(c)
    const rule = await find(caller, c.req.param('id'))
    if (!rule) return unknownRule(c.req.param('id'))
    const of = { ...page, holder: holderOf(caller), id: rule.id }
    const { items, nextCursor } = await caller.run((tx) => listRuleVersions(tx, of))
    return c.json({ versions: items.map(viewVersion), nextCursor })
  })

  routes.patch('/:id', async (c) => {
    const caller = callerOf(c)
    beforeChange?.(c)
    const asked = await validBody(c, ruleChangeSchema)
    const rule = await find(caller, c.req.param('id'))
    if (!rule) return unknownRule(c.req.param('id'))
    // Who changes what a rule does away from blocking need not say that it blocks for no time.
    const terms = asked.action && asked.action !== 'block' ? { blockSeconds: null, ...asked } : asked
    assertRule(holderOf(caller), { ...rule, ...terms })
    const changed = await changeRule(db, { ...changeOf(caller, rule), terms })
    return changed ? c.json(await show(caller, changed)) : unknownRule(rule.id)
  })

  routes.post('/:id/live', (c) => setState(c, c.req.param('id'), 'live'))
  routes.post('/:id/off', (c) => setState(c, c.req.param('id'), 'off'))
  routes.delete('/:id', (c) => setState(c, c.req.param('id'), 'deleted'))

  async function setState(c: Context<E>, id: string, state: 'live' | 'off' | 'deleted'): Promise<Response> {
    const caller = callerOf(c)
    beforeChange?.(c)
    const rule = await find(caller, id)
    const changed = rule && (await setRuleState(db, { ...changeOf(caller, rule), state }))
    if (!changed) return unknownRule(id)
    if (state === 'deleted') return c.body(null, 204)
    const shown = await show(caller, changed)
    if (state === 'off' || shown.dryRun?.state === 'done') return c.json(shown)
    return c.json({ ...shown, warning: 'This version went live without a dry run.' })
  }

  async function find(caller: RuleCaller, text: string): Promise<Rule | undefined> {
    const id = idOf('rul', text)
    return id === undefined ? undefined : caller.run((tx) => getRule(tx, { holder: holderOf(caller), id }))
  }

  /** With the last dry run of what it says now. */
  function show(caller: RuleCaller, rule: Rule) {
    return caller.run(async (tx) => {
      const id = await lastDryRunOf(tx, { ruleId: rule.id, version: rule.version })
      const run = id === undefined ? undefined : await getDryRun(tx, { holder: holderOf(caller), id })
      return { ...viewRule(rule), dryRun: run ? { id: run.id, state: run.state } : null }
    })
  }

  describeRules(routes, { created: newRuleSchema, changed: ruleChangeSchema })
  return routes
}

function changeOf(caller: RuleCaller, { id }: Rule) {
  return { holder: holderOf(caller), actor: caller.actor, id }
}
