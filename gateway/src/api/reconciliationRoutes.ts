import {
  appendAudit,
  type Db,
  type Difference,
  getGrant,
  getReconciliation,
  listDifferences,
  listReconciliations,
  type Reconciliation,
  requestReconciliation,
  withService,
} from '@protocolbanks/stream-db'
import { hex32Schema } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { type ApiEnv, operatorOnly } from './caller.ts'
import { describeReconciliations } from './openapi/operations/settlementOperations.ts'
import { idOf, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'

const requestSchema = z.strictObject({
  /** Left out or null: all grants. */
  grantId: hex32Schema.nullish(),
})

/** Reconciliations: to ask for, and to look at. A gateway makes them, one at a time. For the operator. */
export function createReconciliationRoutes({ db }: { db: Db }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()
  routes.use(operatorOnly)

  routes.post('/', async (c) => {
    const { actor } = c.get('caller')
    const grantId = (await validBody(c, requestSchema)).grantId ?? null
    if (grantId && !(await getGrant(db, grantId))) {
      return problem(404, 'grant.unknown', 'No such grant is known to you.', { detail: `Grant: ${grantId}` })
    }
    const asked = await withService(db, async (tx) => {
      const reconciliation = await requestReconciliation(tx, { grantId, actor })
      const act = { actor, action: 'reconciliation_request', subject: reconciliation.id, note: null }
      await appendAudit(tx, { ...act, before: null, after: { grantId } })
      return reconciliation
    })
    return c.json(toJson(asked), 202, { location: `/api/reconciliations/${asked.id}` })
  })

  routes.get('/', async (c) => {
    const { items, nextCursor } = await listReconciliations(db, validQuery(c, pageSchema))
    return c.json({ reconciliations: items.map(toJson), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const id = idOf('rec', c.req.param('id'))
    const reconciliation = id && (await getReconciliation(db, id))
    if (reconciliation) {
      const found = await listDifferences(db, reconciliation.id)
      return c.json({ ...toJson(reconciliation), found: found.map(differenceToJson) })
    }
    return problem(404, 'reconciliation.unknown', 'There is no such reconciliation.', {
      detail: `Reconciliation: ${c.req.param('id').slice(0, 80)}`,
    })
  })

  describeReconciliations(routes, { request: requestSchema })
  return routes
}

function toJson(reconciliation: Reconciliation) {
  const { leaseOwner: _, leaseUntil: __, blockNumber, ...shown } = reconciliation
  return { ...shown, blockNumber: blockNumber?.toString() ?? null }
}

function differenceToJson({ expected, actual, ...difference }: Difference) {
  return { ...difference, expectedAtomic: expected.toString(), actualAtomic: actual.toString() }
}
