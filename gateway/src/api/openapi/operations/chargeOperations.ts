import { z } from 'zod'
import { describe } from '../operation.ts'
import { text, whole } from '../parts.ts'

/** Headers of the answer to whoever pays, by their names in lower case. */
const headers = z.record(z.string(), z.string())
/** Given to the client as it is, in the place of what was served. */
const answerInstead = z.strictObject({
  outcome: z.literal('answer'),
  /** Of a refusal while it is settled. */
  code: text.optional(),
  status: z.int().min(200).max(599),
  headers,
  body: text,
})
const charged = z.strictObject({
  outcome: z.literal('charged'),
  ticket: text,
  headers,
  settleSeconds: z
    .int()
    .min(1)
    .optional()
    .meta({ description: 'Nothing has moved yet: ask `settle`, which takes so long at most.' }),
})
const extended = z.strictObject({ outcome: z.literal('charged'), heldAtomic: whole.optional(), headers })
const exhausted = z.strictObject({
  outcome: z.literal('exhausted'),
  requiredCumulative: whole,
  acceptedCumulative: whole,
})
const refused = z.strictObject({ outcome: z.literal('refused'), code: text.optional() })
const settled = z.strictObject({ outcome: z.literal('settled'), headers })

export function describeCharges(
  routes: Parameters<typeof describe>[0],
  of: { charge: z.ZodType; capture: z.ZodType; extend: z.ZodType },
): void {
  describe(routes, {
    'POST /': {
      id: 'createCharge',
      summary: "Charges a call of a merchant's own server, or says what to answer instead.",
      description:
        'For a key of a merchant. `charged`: serve the call, answer with `headers`, and report it under `ticket` within a minute. `answer`: give the client this answer as it is, a 402 with the offer among them. There is no Idempotency-Key: the request id inside `paymentSignature` names the payment, and is charged once; where this answer is lost, release the `ticket` that the body has chosen, and charge again.',
      body: of.charge,
      answers: { 200: z.union([charged, answerInstead]) },
      errors: ['request.invalid', 'service.unknown', 'ticket.used'],
    },
    'POST /:ticket/capture': {
      id: 'captureCharge',
      summary: 'Charges what a call has cost, in the place of what it held.',
      description: 'Once: asked again it answers the first amount. `served` follows. Amounts are in base units.',
      body: of.capture,
      answers: { 200: z.strictObject({ amountAtomic: whole, headers }) },
      errors: ['request.invalid', 'ticket.unknown'],
    },
    'POST /:ticket/extend': {
      id: 'extendCharge',
      summary: 'Holds the next segment of a stream that is charged by use.',
      description:
        '`exhausted`: the newest voucher does not cover it. Ask again until the next has come, which is a request of its own. A segment with a number is charged once, however often it is asked for.',
      body: of.extend,
      answers: { 200: z.union([extended, exhausted, refused]) },
      errors: ['request.invalid', 'ticket.unknown'],
    },
    'POST /:ticket/settle': {
      id: 'settleCharge',
      summary: 'Moves what a call is paid with, once it was served and before its answer leaves.',
      description:
        'For a ticket that came with `settleSeconds`, which this may take: it answers when the transfer is in the chain, or will not be. Asked again it waits for the same, and answers the same.',
      answers: { 200: z.union([settled, answerInstead]) },
      errors: ['ticket.unknown'],
    },
    'POST /:ticket/served': {
      id: 'serveCharge',
      summary: 'Says that a call was served: its charge stands.',
      answers: { 200: z.strictObject({ released: z.literal(false) }) },
      errors: ['ticket.unknown', 'ticket.not_settled'],
    },
    'POST /:ticket/release': {
      id: 'releaseCharge',
      summary: 'Says that a call was not served: nobody pays for it.',
      description:
        '`released` is false where it is too late for that: the charge stands, and a retry with the same request id is free. A ticket that is not known yet is given up, and its charge, if it comes later, is refused.',
      answers: { 200: z.strictObject({ released: z.boolean() }) },
      errors: ['ticket.unknown'],
    },
  })
}
