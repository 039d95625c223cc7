import { Ajv2020 } from 'ajv/dist/2020.js'
import type { Hono } from 'hono'

type Operation = { responses: Record<string, { content?: Record<string, unknown> }> }
type Document = { paths: Record<string, Record<string, Operation>> }

/** An answer of the API, its body read: JSON parsed, anything else as text; undefined when there was none. */
export type Answered = { method: string; path: string; status: number; type: string | null; body: unknown }

/**
 * Holds answers to what the API's own document says of them: an operation, its status, its type, its schema, its codes.
 * Fields that the document does not name are too many.
 *
 * @throws with what differs
 */
export function holdToDocument(app: Pick<Hono, 'request'>): (answered: Answered) => Promise<void> {
  let ready: ReturnType<typeof read> | undefined
  return async ({ method, path, status, type, body }) => {
    ready ??= read(app)
    const { document, ajv } = await ready
    const at = new URL(path, 'http://local').pathname.replace(/(?<=.)\/$/, '')
    const template = templateOf(document, method, at)
    // No such route, or nobody who may know.
    if (template === undefined) {
      if (status === 404 || status === 401 || status === 400 || status === 429 || status === 422) return
      throw new Error(`${method} ${at} answered ${status}, and is not in the document.`)
    }
    const where = `${method} ${template} answered ${status}`
    const response = document.paths[template]?.[method.toLowerCase()]?.responses[status]
    if (!response) throw new Error(`${where}, which the document does not say: ${JSON.stringify(body)}`)
    if (response.content === undefined) {
      if (body === undefined) return
      throw new Error(`${where} with a body, which the document does not say.`)
    }
    const media = (type ?? '').split(';')[0]?.trim() ?? ''
    if (!(media in response.content))
      throw new Error(`${where} with the type ${media}, which the document does not say.`)
    const pointer = ['paths', template, method.toLowerCase(), 'responses', `${status}`, 'content', media, 'schema']
    const steps = pointer.map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1')))
    if (ajv.validate({ $ref: `api#/${steps.join('/')}` }, body)) return
    throw new Error(`${where}, and not as the document says: ${ajv.errorsText()}\n${JSON.stringify(body, null, 2)}`)
  }
}

async function read(app: Pick<Hono, 'request'>) {
  const response = await app.request('/api/openapi.json')
  const document: Document = JSON.parse(await response.text())
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })
  ajv.addSchema(document, 'api')
  return { document, ajv }
}

/** The path of the document that this one is of: the one with the fewest parameters. */
function templateOf({ paths }: Document, method: string, path: string): string | undefined {
  const fits = Object.keys(paths).filter(
    (template) =>
      paths[template]?.[method.toLowerCase()] !== undefined &&
      new RegExp(`^${template.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
  )
  return fits.toSorted((one, other) => parametersOf(one) - parametersOf(other))[0]
}

function parametersOf(template: string): number {
  return template.split('{').length - 1
}
