import { Hono } from 'hono'
import { createOpenApi } from '../../api/openapi/createOpenApi.ts'
import { holdToDocument } from '../../api/testing/holdToDocument.ts'

let hold: ReturnType<typeof holdToDocument> | undefined

/**
 * Holds an answer of the charges API to what the document says of it.
 *
 * @param path of the charges API: `/` or `/:ticket/<operation>`
 * @returns its body
 * @throws with what differs
 */
export async function holdCharges(
  api: Pick<Hono, 'routes'>,
  path: string,
  response: Response,
): Promise<Record<string, unknown>> {
  // Every charges API is described alike.
  const document = () => createOpenApi([{ app: api, at: '/charges' }], '/api')
  hold ??= holdToDocument(new Hono().get('/api/openapi.json', (c) => c.json(document())))
  const body = (await response.json()) as Record<string, unknown>
  const type = response.headers.get('content-type')
  await hold({ method: 'POST', path: `/api/charges${path}`, status: response.status, type, body })
  return body
}
