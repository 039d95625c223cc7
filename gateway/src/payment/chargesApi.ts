import type { ChargesOperation } from '@protocolbanks/stream-protocol'
import { type Context, Hono } from 'hono'
import { describeCharges } from '../api/openapi/operations/chargeOperations.ts'
import { bodyOf } from '../api/validate.ts'
import { problem } from '../problem.ts'
import type { RequestTrace } from '../tracing/traceRequests.ts'
import { captureSchema, chargeSchema, extendSchema } from './chargeSchemas.ts'
import { type ChargesOperationsOptions, createChargesOperations } from './chargesOperations.ts'

export type ChargesApiOptions = ChargesOperationsOptions & {
  /** The merchant of an API key; undefined when the key is not one. */
  merchantOf(authorization: string | undefined): Promise<string | undefined>
}

type ChargesEnv = { Variables: { merchantId: string; trace?: RequestTrace } }

/** The charges API over HTTP: `POST /` charges, `POST /:ticket/<operation>` does the rest; see `createChargesOperations`. */
export function createChargesApi({ merchantOf, ...options }: ChargesApiOptions): Hono<ChargesEnv> {
  const operations = createChargesOperations(options)
  const api = new Hono<ChargesEnv>()

  api.use(async (c, next) => {
    const merchantId = await merchantOf(c.req.header('authorization'))
    if (merchantId === undefined) {
      return problem(401, 'api_key.invalid', 'The API key is missing or not known.', {
        hint: 'Send a merchant API key as `Authorization: Bearer pb_...`.',
      })
    }
    c.set('merchantId', merchantId)
    return next()
  })

  async function answer(c: Context<ChargesEnv>, operation: ChargesOperation): Promise<Response> {
    const { status, contentType, body } = await operations[operation]({
      merchantId: c.get('merchantId'),
      ticket: c.req.param('ticket') ?? '',
      body: new TextDecoder().decode(await bodyOf(c.req.raw)),
      trace: c.get('trace'),
    })
    return new Response(body, { status, headers: { 'content-type': contentType } })
  }

  api.post('/', (c) => answer(c, 'charge'))
  api.post('/:ticket/capture', (c) => answer(c, 'capture'))
  api.post('/:ticket/extend', (c) => answer(c, 'extend'))
  api.post('/:ticket/settle', (c) => answer(c, 'settle'))
  api.post('/:ticket/served', (c) => answer(c, 'served'))
  api.post('/:ticket/release', (c) => answer(c, 'release'))
  describeCharges(api, { charge: chargeSchema, capture: captureSchema, extend: extendSchema })
  return api
}
