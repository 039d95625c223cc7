import {
  type Db,
  failureReasons,
  getGrant,
  getSettlement,
  listSettlements,
  listTransitions,
  requestSettlement,
  retryDeadLetter,
  type Settlement,
  type SettlementItem,
  type SettlementTransition,
  settlementStates,
  writeOffDeadLetter,
  writeOffReasons,
} from '@protocolbanks/stream-db'
import { formatAmount, hex32Schema } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { writeRefusal } from './auditRefusals.ts'
import { type ApiEnv, asCaller, operatorOnly } from './caller.ts'
import { describeSettlements } from './openapi/operations/settlementOperations.ts'
import { idOf, noteSchema, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'

const listSchema = pageSchema.extend({
  grantId: hex32Schema.optional(),
  state: z.enum(settlementStates).optional(),
  /** Of the newest failure. */
  reason: z.enum(failureReasons).optional(),
  /** `false` with `state=dead`: those that wait for an operator. */
  writtenOff: z
    .enum(['true', 'false'])
    .transform((text) => text === 'true')
    .optional(),
})
const requestSchema = z.strictObject({ grantId: hex32Schema })
/** `note`: why, for the audit. */
const retrySchema = z.strictObject({ note: noteSchema })
const writeOffSchema = z.strictObject({ reason: z.enum(writeOffReasons), note: noteSchema })

export type SettlementRoutesDeps = { db: Db; logger: Logger; tokenDecimals: number }

/**
 * Settlements: to look at, and to ask for. The settlement worker makes them. Dead ones the operator retries or writes
 * off, each with an audit entry in the transaction of the change.
 */
export function createSettlementRoutes({ db, logger, tokenDecimals }: SettlementRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()

  routes.post('/', async (c) => {
    const caller = c.get('caller')
    const { grantId } = await validBody(c, requestSchema)
    const { grant, request } = await asCaller(db, caller, async (queryable) => ({
      grant: await getGrant(queryable, grantId),
      request: await requestSettlement(queryable, { grantId, ...caller }),
    }))
    if (!grant) {
      const refusal = { action: 'settlement_request', subject: grantId, errorCode: 'grant.unknown' }
      await writeRefusal({ db, logger }, { ...refusal, actor: caller.actor })
      return problem(404, 'grant.unknown', 'No such grant is known to you.', { detail: `Grant: ${grantId}` })
    }
    if (!request) {
      return problem(409, 'settlement.nothing_due', 'There is nothing to settle.', {
        detail: `Grant: ${grantId}`,
        hint: 'Charges of the last seconds may not be in the journal yet; ask again when usage shows them.',
      })
    }
    return c.json({ id: request.id, grantId, state: 'requested' }, 202)
  })

  routes.get('/', async (c) => {
    const filter = validQuery(c, listSchema)
    const { items, nextCursor } = await asCaller(db, c.get('caller'), (queryable) => listSettlements(queryable, filter))
    return c.json({ settlements: items.map(toJson), nextCursor })
  })

  routes.get('/:id', async (c) => {
    const id = idOf('stl', c.req.param('id'))
    if (id === undefined) return unknownSettlement(c.req.param('id'))
    const { settlement, history } = await asCaller(db, c.get('caller'), async (queryable) => ({
      settlement: await getSettlement(queryable, id),
      history: await listTransitions(queryable, id),
    }))
    if (!settlement) return unknownSettlement(id)
    const isOperator = c.get('caller').merchantId === null
    // Which process it was is the operator's business.
    const transitions = history.map((one) => ({ ...one, worker: isOperator ? one.worker : null }))
    return c.json(withHistory(settlement, transitions))
  })

  routes.post('/:id/retry', operatorOnly, async (c) => {
    const { note } = await validBody(c, retrySchema)
    const { actor } = c.get('caller')
    return act(c.req.param('id'), (id) => retryDeadLetter(db, { id, actor, note }))
  })

  routes.post('/:id/write-off', operatorOnly, async (c) => {
    const { note, reason } = await validBody(c, writeOffSchema)
    const { actor } = c.get('caller')
    return act(c.req.param('id'), (id) => writeOffDeadLetter(db, { id, actor, note, reason }))
  })

  /** Answers with the settlement after what an operator did to it. */
  async function act(text: string, run: (id: string) => Promise<boolean>): Promise<Response> {
    const id = idOf('stl', text)
    const isDone = id !== undefined && (await run(id))
    const settlement = id && (await getSettlement(db, id))
    if (!settlement) return unknownSettlement(text)
    if (isDone) return Response.json(withHistory(settlement, await listTransitions(db, id)))
    const { state, writtenOffAt } = settlement
    return problem(409, 'settlement.not_dead', 'The settlement does not wait for an operator.', {
      detail: `Settlement: ${id}, state: ${state}${writtenOffAt ? `, written off at ${writtenOffAt.toISOString()}` : ''}`,
      hint: 'Only a dead settlement that was not written off can be retried or written off.',
    })
  }

  function withHistory(
    settlement: Settlement & { items: SettlementItem[] },
    transitions: readonly SettlementTransition[],
  ) {
    return { ...toJson(settlement), items: settlement.items.map(itemToJson), transitions }
  }

  function itemToJson({ payee, merchantId, amount, cumulativeAmount, paid, skippedReason }: SettlementItem) {
    return {
      payee,
      merchantId,
      amount: formatAmount(amount, tokenDecimals),
      amountAtomic: amount.toString(),
      cumulativeAmountAtomic: cumulativeAmount.toString(),
      paid: paid === null ? null : formatAmount(paid, tokenDecimals),
      paidAtomic: paid?.toString() ?? null,
      skippedReason,
    }
  }

  describeSettlements(routes, {
    request: requestSchema,
    list: listSchema,
    retry: retrySchema,
    writeOff: writeOffSchema,
  })
  return routes
}

function unknownSettlement(id: string): Response {
  return problem(404, 'settlement.unknown', 'There is no such settlement.', {
    detail: `Settlement: ${id.slice(0, 80)}`,
  })
}

/** Without the worker's own bookkeeping. */
function toJson(settlement: Settlement) {
  const { id, grantId, account, state, trigger, userOpHash, txHash, attempts, createdAt, updatedAt } = settlement
  return {
    id,
    grantId,
    account,
    state,
    trigger,
    userOpHash,
    txHash,
    blockNumber: settlement.blockNumber?.toString() ?? null,
    attempts,
    waits: settlement.waits,
    nextAttemptAt: settlement.nextAttemptAt,
    failureReason: settlement.failureReason,
    errorCode: settlement.errorCode,
    errorMessage: settlement.errorMessage,
    gasUsed: settlement.gasUsed?.toString() ?? null,
    gasCostWei: settlement.gasCostWei?.toString() ?? null,
    writtenOffAt: settlement.writtenOffAt,
    createdAt,
    updatedAt,
  }
}
