import {
  type Db,
  getGrant,
  getSettlement,
  listSettlements,
  requestSettlement,
  type Settlement,
  type SettlementItem,
} from '@protocolbanks/stream-db'
import { formatAmount, hex32Schema } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { z } from 'zod'
import { problem } from '../problem.ts'
import { type ApiEnv, asCaller } from './caller.ts'
import { idOf, pageSchema } from './schemas.ts'
import { validBody, validQuery } from './validate.ts'

const states = ['intended', 'submitted', 'confirmed', 'failed', 'dead'] as const
const listSchema = pageSchema.extend({ grantId: hex32Schema.optional(), state: z.enum(states).optional() })
const requestSchema = z.strictObject({ grantId: hex32Schema })

/** Settlements: to look at, and to ask for. The settlement worker makes them. */
export function createSettlementRoutes({ db, tokenDecimals }: { db: Db; tokenDecimals: number }): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()

  routes.post('/', async (c) => {
    const caller = c.get('caller')
    const { grantId } = await validBody(c, requestSchema)
    const { grant, request } = await asCaller(db, caller, async (queryable) => ({
      grant: await getGrant(queryable, grantId),
      request: await requestSettlement(queryable, { grantId, ...caller }),
    }))
    if (!grant) return problem(404, 'grant.unknown', 'No such grant is known to you.', { detail: `Grant: ${grantId}` })
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
    const settlement = id && (await asCaller(db, c.get('caller'), (queryable) => getSettlement(queryable, id)))
    if (settlement) return c.json({ ...toJson(settlement), items: settlement.items.map(itemToJson) })
    return problem(404, 'settlement.unknown', 'There is no such settlement.', {
      detail: `Settlement: ${c.req.param('id').slice(0, 80)}`,
    })
  })

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

  return routes
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
    nextAttemptAt: settlement.nextAttemptAt,
    errorCode: settlement.errorCode,
    errorMessage: settlement.errorMessage,
    gasUsed: settlement.gasUsed?.toString() ?? null,
    gasCostWei: settlement.gasCostWei?.toString() ?? null,
    createdAt,
    updatedAt,
  }
}
