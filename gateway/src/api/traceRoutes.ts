import { type Charge, type Db, findTrace, type Trace, type TracedSettlement } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { problem } from '../problem.ts'
import { type ApiEnv, operatorOnly } from './caller.ts'
import { describeTraces } from './openapi/operations/settlementOperations.ts'

export type TraceRoutesDeps = { db: Db; tokenDecimals: number }

/** Longest name that anything has: an `x402` payment identifier. */
const maxNameLength = 128

/**
 * `GET /:id`: from a request to the transaction that paid for it, as far as it has come, by whatever is known of it: its
 * request id, the trace id of the request or of the settlement, the settlement, the UserOperation's or the transaction's
 * hash. For the operator.
 */
export function createTraceRoutes({ db, tokenDecimals }: TraceRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>()

  routes.get('/:id', operatorOnly, async (c) => {
    const id = c.req.param('id')
    const trace = id.length <= maxNameLength ? await findTrace(db, id) : undefined
    if (trace)
      return c.json({ id, charges: trace.charges.map(chargeToJson), settlements: trace.settlements.map(toJson) })
    return problem(404, 'trace.unknown', 'Nothing is known under this name.', {
      detail: `Name: ${id.slice(0, maxNameLength)}`,
      hint: 'A charge is found once it is journalled, about a second after it was served; a settlement from its claim on.',
    })
  })

  function chargeToJson({ settlementIds, ...charge }: Trace['charges'][number]) {
    const { eventId, requestId, traceId, occurredAt, journalledAt, grantId, account, payee } = charge
    return {
      eventId,
      requestId,
      traceId,
      occurredAt,
      journalledAt,
      grantId,
      account,
      payee,
      ...soldBy(charge),
      settlementIds,
    }
  }

  function soldBy({ merchantId, serviceId, amount }: Charge) {
    return { merchantId, serviceId, amount: formatAmount(amount, tokenDecimals), amountAtomic: amount.toString() }
  }

  describeTraces(routes)
  return routes
}

function toJson({ items, sponsorships, ...settlement }: TracedSettlement) {
  const { id, grantId, account, state, trigger, userOpHash, earlierUserOpHashes, txHash, blockNumber } = settlement
  return {
    id,
    traceId: id.slice(id.indexOf('_') + 1),
    grantId,
    account,
    state,
    trigger,
    userOpHash,
    earlierUserOpHashes,
    txHash,
    blockNumber: blockNumber?.toString() ?? null,
    createdAt: settlement.createdAt,
    updatedAt: settlement.updatedAt,
    items: items.map(({ payee, merchantId, amount, paid, skippedReason }) => ({
      payee,
      merchantId,
      amountAtomic: amount.toString(),
      paidAtomic: paid?.toString() ?? null,
      skippedReason,
    })),
    transitions: settlement.transitions,
    sponsorships: sponsorships.map(({ actualCostWei, ...sponsorship }) => ({
      ...sponsorship,
      actualCostWei: actualCostWei?.toString() ?? null,
    })),
    transactions: settlement.transactions,
  }
}
