import { z } from 'zod'
import { describe } from '../operation.ts'
import { address, decimal, hex32, idSchema, moment, page, text, whole } from '../parts.ts'

const charge = {
  requestId: text,
  eventId: text,
  occurredAt: moment,
  journalledAt: moment,
  grantId: hex32,
  account: address,
  payee: address,
  merchantId: idSchema('mer').nullable(),
  serviceId: idSchema('svc').nullable(),
  traceId: text.nullable(),
  amount: decimal,
  amountAtomic: whole,
}
const listed = z.looseObject(charge).meta({ id: 'ReceiptOfList' })
const receipt = z
  .looseObject({
    ...charge,
    settlement: z.strictObject({
      state: z.enum(['settled', 'settling', 'owed']),
      last: z.strictObject({ id: idSchema('stl'), state: text, txHash: hex32.nullable() }).nullable(),
    }),
    receipt: z.record(z.string(), z.unknown()),
    header: text,
  })
  .meta({ id: 'Receipt' })

export function describeReceipts(
  routes: Parameters<typeof describe>[0],
  of: { list: z.ZodObject; one: z.ZodObject },
): void {
  describe(routes, {
    'GET /': {
      id: 'listReceipts',
      summary: 'What was charged, newest first.',
      query: of.list,
      answers: { 200: page('receipts', listed) },
    },
    'GET /:requestId': {
      id: 'getReceipts',
      summary: 'The receipts of a request, signed, with what became of them.',
      query: of.one,
      answers: { 200: z.looseObject({ requestId: text, receipts: z.array(receipt) }) },
      errors: ['receipt.unknown'],
    },
  })
}
