import { createDryRun, type DryRun, getDryRun, getRule, listDryRuns, maxPendingDryRuns } from '@protocolbanks/stream-db'
import { type Env, Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../../problem.ts'
import { describeDryRuns } from '../openapi/operations/ruleOperations.ts'
import { idOf, pageSchema } from '../schemas.ts'
import { validBody, validQuery } from '../validate.ts'
import { holderOf, type RuleCaller, type RuleRoutesDeps } from './ruleCaller.ts'
import { actionSchema, assertRule, blockSecondsSchema, expressionSchema, scopeSchema } from './ruleSchemas.ts'
import { unknownDryRun, unknownRule, viewDryRun } from './ruleView.ts'

const longestDays = 31
const moment = z.iso.datetime({ offset: true }).transform((text) => new Date(text))

type Tried = Pick<DryRun, 'expression' | 'action' | 'scope' | 'blockSeconds' | 'ruleId' | 'ruleVersion'>

/** What is tried: a rule that is stored, as it is now, or an expression that is not yet. */
const dryRunSchema = z
  .strictObject({
    from: moment,
    until: moment,
    ruleId: z.string().max(80).optional(),
    expression: expressionSchema.optional(),
    action: actionSchema.optional(),
    scope: scopeSchema.optional(),
    blockSeconds: blockSecondsSchema.nullish(),
  })
  .transform(({ from, until, ruleId, ...asked }, context) => {
    const refuse = (path: string, message: string) => {
      context.addIssue({ code: 'custom', path: [path], message })
      return z.NEVER
    }
    if (from >= until) return refuse('until', 'must be after `from`')
    if (until.getTime() - from.getTime() > longestDays * 86_400_000)
      return refuse('until', `must be at most ${longestDays} days after \`from\``)
    const { expression, action, scope = {}, blockSeconds = null } = asked
    if (ruleId !== undefined) {
      if (Object.values(asked).some((value) => value !== undefined))
        return refuse('ruleId', 'says what is tried; leave out `expression`, `action`, `scope` and `blockSeconds`')
      return { from, until, stored: ruleId, tried: undefined }
    }
    if (expression === undefined || action === undefined)
      return refuse('expression', 'is needed with `action`, or `ruleId` in the place of both')
    const tried: Tried = { expression, action, scope, blockSeconds, ruleId: null, ruleVersion: null }
    return { from, until, stored: '', tried }
  })

/** Dry runs: what a rule would have done in a time that is past. A sentinel takes them. */
export function createDryRunRoutes<E extends Env>(deps: RuleRoutesDeps<E>): Hono<E> {
  const { db, clock, callerOf, beforeChange, tokenDecimals } = deps
  const routes = new Hono<E>()

  routes.post('/', async (c) => {
    const caller = callerOf(c)
    beforeChange?.(c)
    const { from, until, stored, ...asked } = await validBody(c, dryRunSchema)
    const now = new Date(clock())
    const tried = asked.tried ?? (await storedRule(caller, stored))
    if (!tried) return unknownRule(stored)
    const holder = holderOf(caller)
    assertRule(holder, tried)
    if (from >= now) {
      return problem(400, 'request.invalid', 'The request is not valid.', {
        detail: `from: ${from.toISOString()} is not in the past`,
      })
    }
    const times = { fromAt: from, untilAt: until < now ? until : now }
    const run = await createDryRun(db, { holder, actor: caller.actor, ...tried, ...times })
    if (!run) {
      return problem(409, 'dry_run.too_many', 'Your dry runs are not done yet.', {
        detail: `Pending: ${maxPendingDryRuns}`,
        hint: 'Ask again when one of them is done.',
      })
    }
    return c.json(viewDryRun(run, tokenDecimals), 202)
  })

  routes.get('/', async (c) => {
    const page = validQuery(c, pageSchema)
    const caller = callerOf(c)
    const { items, nextCursor } = await caller.run((tx) => listDryRuns(tx, { ...page, holder: holderOf(caller) }))
    return c.json({ dryRuns: items.map((run) => viewDryRun(run, tokenDecimals)), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const caller = callerOf(c)
    const id = idOf('dry', c.req.param('id'))
    const run = id && (await caller.run((tx) => getDryRun(tx, { holder: holderOf(caller), id })))
    return run ? c.json(viewDryRun(run, tokenDecimals)) : unknownDryRun(c.req.param('id'))
  })

  async function storedRule(caller: RuleCaller, text: string): Promise<Tried | undefined> {
    const id = idOf('rul', text)
    const rule = id && (await caller.run((tx) => getRule(tx, { holder: holderOf(caller), id })))
    if (!rule) return undefined
    const { expression, action, scope, blockSeconds } = rule
    return { expression, action, scope, blockSeconds, ruleId: rule.id, ruleVersion: rule.version }
  }

  describeDryRuns(routes, { created: dryRunSchema })
  return routes
}
