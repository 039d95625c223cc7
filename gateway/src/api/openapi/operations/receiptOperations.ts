import { z } from 'zod'
import { describe } from '../operation.ts'
import { address, decimal, hex32, idSchema, moment, page, text, whole } from '../parts.ts'

const paid = {
  requestId: text,
  occurredAt: moment,
  account: address,
  payee: address,
  merchantId: idSchema('mer').nullable(),
  serviceId: idSchema('svc').nullable(),
  amount: decimal,
  amountAtomic: whole,
}
const charge = {
  scheme: z.literal('session'),
  ...paid,
  eventId: text,
  journalledAt: moment,
  grantId: hex32,
  traceId: text.nullable(),
}
const exact = { scheme: z.literal('exact'), ...paid, paymentId: idSchema('xpm'), txHash: hex32 }
const signed = {
  receipt: z.record(z.string(), z.unknown()),
  header: text,
}
const listed = z
  .discriminatedUnion('scheme', [z.looseObject(charge), z.strictObject(exact)])
  .meta({ id: 'ReceiptOfList' })
const receipt = z
  .discriminatedUnion('scheme', [
    z.looseObject({
      ...charge,
      ...signed,
      settlement: z.strictObject({
        state: z.enum(['settled', 'settling', 'owed']),
        last: z.strictObject({ id: idSchema('stl'), state: text, txHash: hex32.nullable() }).nullable(),
      }),
    }),
    z.strictObject({
      ...exact,
      ...signed,
      settlement: z.strictObject({
        state: z.literal('settled'),
        last: z.strictObject({ id: idSchema('xpm'), state: z.literal('settled'), txHash: hex32 }),
      }),
    }),
  ])
  .meta({ id: 'Receipt' })

export function describeReceipts(
  routes: Parameters<typeof describe>[0],
  of: { list: z.ZodObject; one: z.ZodObject },
): void {
  describe(routes, {
    'GET /': {
      id: 'listReceipts',
      summary: 'What was charged, newest first.',
      description:
        'Charges of the session scheme. With `scheme=exact`: single payments, by x402 `exact` or by MPP, a list of its own that `grantId` has no meaning in.',
      query: of.list,
      answers: { 200: page('receipts', listed) },
    },
    'GET /:requestId': {
      id: 'getReceipts',
      summary: 'The receipts of a request, signed, with what became of them.',
      description:
        'By the `requestId` that the receipt of the paid answer says; a single payment (`scheme` `exact`) is found by the hash of its transaction too, which is the `reference` of an MPP receipt.',
      query: of.one,
      answers: { 200: z.looseObject({ requestId: text, receipts: z.array(receipt) }) },
      errors: ['receipt.unknown'],
    },
  })
}
