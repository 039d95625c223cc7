import type { Context } from 'hono'
import type { z } from 'zod'
import { ApiRefusal } from './apiProblem.ts'

/** Larger bodies are refused: 413. */
export const maxBodyBytes = 64 * 1024
const maxIssues = 5

/**
 * The JSON body of a request as its schema has it. An empty body is `undefined` to the schema.
 *
 * @throws ApiRefusal 413 too large, 415 not JSON by its content type, 400 not JSON or not what the schema says
 */
export async function validBody<T extends z.ZodType>(c: Context, schema: T): Promise<z.output<T>> {
  const bytes = await bodyOf(c.req.raw)
  if (bytes.length === 0) return valid(schema, undefined)
  const type = c.req.header('content-type') ?? ''
  if (!/^application\/json *(;|$)/i.test(type)) {
    throw new ApiRefusal(415, 'request.unsupported_type', 'The body is not JSON.', {
      detail: `Content-Type: ${type.slice(0, 100) || 'none'}`,
      hint: 'Send `Content-Type: application/json`.',
    })
  }
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new ApiRefusal(400, 'request.malformed', 'The body is not well-formed JSON.', {
      detail: error instanceof Error ? error.message.slice(0, 200) : undefined,
      hint: 'Send one JSON object in UTF-8.',
    })
  }
  return valid(schema, value)
}

/** The query parameters. @throws ApiRefusal 400 */
export function validQuery<T extends z.ZodType>(c: Context, schema: T): z.output<T> {
  return valid(schema, c.req.query())
}

/** Any value from outside. @throws ApiRefusal 400 */
export function valid<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const { issues } = parsed.error
  const lines = issues.slice(0, maxIssues).map(({ path, message }) => {
    const where = path.map(String).join('.').slice(0, 100)
    return where === '' ? message : `${where}: ${message}`
  })
  if (issues.length > maxIssues) lines.push(`and ${issues.length - maxIssues} more`)
  throw new ApiRefusal(400, 'request.invalid', 'The request is not valid.', { detail: lines.join('; ').slice(0, 1000) })
}

const bodies = new WeakMap<Request, Promise<Uint8Array>>()

/** The bytes of a request's body, however often it is asked for. @throws ApiRefusal 413 */
export function bodyOf(request: Request): Promise<Uint8Array> {
  const known = bodies.get(request)
  if (known) return known
  const body = readBody(request)
  bodies.set(request, body)
  return body
}

async function readBody(request: Request): Promise<Uint8Array> {
  if (Number(request.headers.get('content-length') ?? 0) > maxBodyBytes) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength
    if (size > maxBodyBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function tooLarge(): ApiRefusal {
  return new ApiRefusal(413, 'request.too_large', 'The body is too large.', {
    hint: `Send at most ${maxBodyBytes} bytes.`,
  })
}
