import type { z } from 'zod'
import type { Context, ExitCode } from '../context.ts'
import { formatTable } from '../formatTable.ts'
import { traceSchema } from '../schemas.ts'

/** The way of a request to the transaction that paid for it, by any name on it: one line for each step, in time. */
export async function showTrace({ client, json, print }: Context, id: string): Promise<ExitCode> {
  const trace = await client.get(`/traces/${encodeURIComponent(id)}`, traceSchema)
  print(json ? JSON.stringify(trace, null, 2) : traceText(trace))
  return 0
}

type Trace = z.output<typeof traceSchema>
type Step = readonly [when: string | null, step: string, id: string | null, what: string | null]

function traceText({ charges, settlements }: Trace): string {
  const steps: Step[] = [...charges.flatMap(chargeSteps), ...settlements.flatMap(settlementSteps)]
  const rows = steps.toSorted(([one], [other]) => (one ?? '').localeCompare(other ?? ''))
  const unpaid = charges.filter(({ settlementIds }) => settlementIds.length === 0).length
  const note = unpaid > 0 ? `\n\n${unpaid} of ${charges.length} charges are in no settlement yet.` : ''
  return formatTable(['when', 'step', 'id', 'what'], rows) + note
}

function chargeSteps(charge: Trace['charges'][number]): Step[] {
  const { requestId, traceId, occurredAt, journalledAt, grantId, payee, serviceId, amountAtomic, settlementIds } =
    charge
  const what = `${amountAtomic} to ${payee} at ${serviceId}, grant ${grantId}, trace ${traceId ?? 'not known'}`
  return [
    [occurredAt, 'charge', requestId, what],
    [journalledAt, 'journal', requestId, settlementIds.length > 0 ? `claimed by ${settlementIds.join(', ')}` : null],
  ]
}

function settlementSteps(settlement: Trace['settlements'][number]): Step[] {
  const { id, traceId, trigger, transitions, sponsorships, txHash, blockNumber, items } = settlement
  const paid = items.reduce((sum, { paidAtomic }) => sum + BigInt(paidAtomic ?? 0), 0n)
  const last = transitions.at(-1)
  return [
    [settlement.createdAt, 'settlement', id, `claimed, trigger ${trigger}, trace ${traceId}`],
    ...transitions.map(({ at, to, reason, userOpHash, txHash: hash }): Step => {
      const why = reason === null ? to : `${to}: ${reason}`
      return [at, 'settlement', id, [why, hash ?? userOpHash].filter((part) => part !== null).join(' ')]
    }),
    ...sponsorships.flatMap(({ userOpHash, createdAt, bookedAt, actualCostWei }): Step[] => [
      [createdAt, 'operation', userOpHash, 'gas reserved by the paymaster'],
      ...(bookedAt === null ? [] : [[bookedAt, 'operation', userOpHash, `cost ${actualCostWei} wei`] as const]),
    ]),
    ...(txHash === null
      ? []
      : [[last?.at ?? settlement.updatedAt, 'transaction', txHash, `block ${blockNumber}, paid ${paid}`] as const]),
  ]
}
