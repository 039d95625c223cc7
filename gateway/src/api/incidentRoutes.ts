import {
  acknowledgeIncident,
  appendAudit,
  closeIncident,
  type Db,
  findIncident,
  getMerchant,
  listEventsOfIncident,
  listIncidents,
  type Tx,
  withService,
} from '@protocolbanks/stream-db'
import { type Context, type Env, Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { type IncidentReader, viewIncident, viewSentinelEvent, viewStop } from './incidentView.ts'
import { describeIncidents } from './openapi/operations/ruleOperations.ts'
import { grantIdSchema, idOf, noteSchema, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'
import type { WebhookCaller } from './webhookCaller.ts'

/** Who asks: what they may see is what their transaction sees. */
export type IncidentCaller = Pick<WebhookCaller, 'audience' | 'merchantId' | 'actor' | 'run'>

export type IncidentRoutesDeps<E extends Env> = {
  db: Db
  clock(): number
  callerOf(c: Context<E>): IncidentCaller
  /** Counts a change. @throws ApiRefusal when there were too many */
  beforeChange?: ((c: Context<E>) => void) | undefined
}

const listSchema = pageSchema.extend({
  grantId: grantIdSchema.optional(),
  state: z.enum(['open', 'acknowledged', 'closed']).optional(),
  severity: z.enum(['info', 'warning', 'critical']).optional(),
})
const changeSchema = z.strictObject({ note: noteSchema.optional() }).default({})

const changes = { acknowledge: acknowledgeIncident, close: closeIncident } as const

/**
 * What the sentinel found. The operator sees all, an owner those of the account, a merchant those of grants that pay them.
 * Operator and owner acknowledge and close; neither lifts what was stopped.
 */
export function createIncidentRoutes<E extends Env>(deps: IncidentRoutesDeps<E>): Hono<E> {
  const { db, clock, callerOf } = deps
  const routes = new Hono<E>()

  routes.get('/', async (c) => {
    const filter = validQuery(c, listSchema)
    const caller = callerOf(c)
    const answer = await caller.run(async (tx) => {
      const { items, nextCursor } = await listIncidents(tx, filter)
      const reader = await readerOf(tx, caller)
      return { incidents: items.map((incident) => viewIncident(incident, reader)), nextCursor }
    })
    return c.json(answer)
  })

  routes.get('/:id', async (c) => {
    const answer = await show(callerOf(c), c.req.param('id'))
    return answer ? c.json(answer) : unknownIncident(c.req.param('id'))
  })

  for (const name of ['acknowledge', 'close'] as const) {
    routes.post(`/:id/${name}`, async (c) => change(c, c.req.param('id'), name))
  }

  async function change(c: Context<E>, text: string, name: keyof typeof changes): Promise<Response> {
    const caller = callerOf(c)
    if (caller.audience === 'merchant') return notTheirs()
    deps.beforeChange?.(c)
    const { note = null } = await validBody(c, changeSchema)
    const before = await show(caller, text)
    if (!before) return unknownIncident(text)
    const { id, state } = before
    if (name === 'acknowledge' && state === 'closed') {
      return problem(409, 'incident.over', 'The incident is closed.', { detail: `Incident: ${id}` })
    }
    const { actor } = caller
    await withService(db, async (tx) => {
      // Done before, or by somebody else just now: it is as they want it.
      if (!(await changes[name](tx, { id, actor, now: new Date(clock()) }))) return
      const after = { state: name === 'close' ? 'closed' : 'acknowledged' }
      await appendAudit(tx, { actor, action: `incident_${name}`, subject: id, note, before: { state }, after })
    })
    return c.json(await show(caller, id))
  }

  async function show(caller: IncidentCaller, text: string) {
    const id = idOf('inc', text)
    return id === undefined
      ? undefined
      : caller.run(async (tx) => {
          const found = await findIncident(tx, id)
          if (!found) return undefined
          const reader = await readerOf(tx, caller)
          const events = reader.audience === 'merchant' ? [] : await listEventsOfIncident(tx, found.incident)
          return {
            ...viewIncident(found.incident, reader),
            stop: viewStop(found.stop),
            events: events.map(viewSentinelEvent),
          }
        })
  }

  describeIncidents(routes, { list: listSchema, change: changeSchema })
  return routes
}

async function readerOf(tx: Tx, { audience, merchantId }: IncidentCaller): Promise<IncidentReader> {
  if (audience !== 'merchant') return { audience }
  return { audience, payee: merchantId === null ? undefined : (await getMerchant(tx, merchantId))?.payee }
}

function unknownIncident(id: string): Response {
  return problem(404, 'incident.unknown', 'No such incident is known to you.', {
    detail: `Incident: ${id.slice(0, 80)}`,
  })
}

function notTheirs(): Response {
  return problem(403, 'operator.required', 'Only the operator or the owner may do this.', {
    hint: 'Freeze and unfreeze the grant at your services below /api/session-keys.',
  })
}
