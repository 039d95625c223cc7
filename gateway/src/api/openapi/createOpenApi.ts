import { createRequire } from 'node:module'
import { problemContentType, problemSchema } from '@protocolbanks/stream-protocol'
import type { Hono } from 'hono'
import { z } from 'zod'
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiResponseObject } from 'zod-openapi'
import { routeScopes } from '../routeScopes.ts'
import { type ApiErrorCode, errorStatuses } from './errorStatuses.ts'
import { type Operation, operationOf } from './operation.ts'

export type OpenApiDocument = ReturnType<typeof createDocument>

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
/** Who a route lets in: an API key, an owner's session, or everybody. */
type Audience = 'key' | 'owner' | 'everybody'
type Route = { method: string; path: string; operation: Operation }

const { version } = createRequire(import.meta.url)('../../../package.json') as { version: string }

/**
 * The OpenAPI 3.1 document of the management API, from the routes of `app`, the schemas that they validate with, and
 * what `describe` says of them.
 *
 * @param basePath where the API is mounted, for instance `/api`
 */
export function createOpenApi(app: Pick<Hono, 'routes'>, basePath: string): OpenApiDocument {
  const paths: Record<string, Partial<Record<Method, ZodOpenApiOperationObject>>> = {}
  for (const route of describedRoutes(app)) {
    const path = `${basePath}${route.path.replace(/\/$/, '').replaceAll(/:(\w+)/g, '{$1}')}`
    const method = route.method.toLowerCase() as Method
    paths[path] = { ...paths[path], [method]: toOperation(route) }
  }
  return createDocument({
    openapi: '3.1.0',
    info: {
      title: 'Protocol Banks Stream: management API',
      version,
      description:
        'Merchants, services, grants, settlements and what happened to them. Amounts are decimal strings of the token; the same name with `Atomic` is in base units. Lists, idempotency, limits and errors: docs/api.md.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Problem: problemSchema.meta({ description: 'RFC 9457. Codes are stable: docs/errors.md.' }) },
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'An API key, `pb_...`.' },
        ownerSession: {
          type: 'http',
          scheme: 'bearer',
          description: 'The token of a session, `pbo_...`, that an owner has signed in for.',
        },
      },
    },
  })
}

/** Routes with a description, each once: handlers in front of another are the same route. */
function describedRoutes(app: Pick<Hono, 'routes'>): Route[] {
  return app.routes.flatMap(({ method, path, handler }) => {
    const operation = operationOf(handler)
    return operation ? [{ method, path, operation }] : []
  })
}

function toOperation({ method, path, operation }: Route): ZodOpenApiOperationObject {
  const { id, summary, query, body, answers, isForOperator } = operation
  const audience = audienceOf(path)
  const isChange = method !== 'GET' && audience !== 'everybody'
  const isEnding = `${method} ${path}` === 'DELETE /owners/session'
  const scope = routeScopes[`${method} ${path.replace(/\/$/, '')}`]
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
  return {
    operationId: audience === 'owner' ? `owner${id.charAt(0).toUpperCase()}${id.slice(1)}` : id,
    summary,
    tags: [tagOf(path)],
    security: isEnding ? [{ ownerSession: [] }] : securityOf(audience, scope),
    ...(isForOperator && { description: 'For the operator.' }),
    requestParams: {
      ...(names.length > 0 && { path: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))) }),
      ...(query && { query }),
      ...(isChange && { header: idempotencyHeader }),
    },
    ...(body && {
      requestBody: { required: !body.safeParse(undefined).success, content: { 'application/json': { schema: body } } },
    }),
    responses: { ...toAnswers(answers), ...toProblems(errorsOf(operation, { audience, isChange })) },
  }
}

const idempotencyHeader = z.object({
  'Idempotency-Key': z
    .string()
    .min(1)
    .max(255)
    .optional()
    .meta({ description: 'Names this request, so that it can be repeated: it is run once, for a day.' }),
})

function securityOf(audience: Audience, scope: string | undefined): Record<string, string[]>[] {
  if (audience === 'everybody') return []
  if (audience === 'owner') return [{ ownerSession: [] }]
  return [{ apiKey: scope === undefined || scope === 'any' ? [] : [scope] }]
}

function audienceOf(path: string): Audience {
  if (path.startsWith('/owner/')) return 'owner'
  return /^\/(owners|alert-links|openapi\.json|reference)(\/|$)/.test(path) ? 'everybody' : 'key'
}

function tagOf(path: string): string {
  const [, first = '', second = ''] = path.split('/')
  if (first === 'openapi.json') return 'reference'
  return first === 'owner' || first === 'owners' ? `owner-${second}` : first
}

function toAnswers(answers: Operation['answers']): Record<`${1 | 2 | 3 | 4 | 5}${string}`, ZodOpenApiResponseObject> {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => {
      if (answer === 'none') return [status, { description: 'Done.', headers: answerHeaders }]
      const [type, schema] = typeof answer === 'string' ? [answer, z.string()] : ['application/json', answer]
      return [status, { description: 'Done.', headers: answerHeaders, content: { [type]: { schema } } }]
    }),
  )
}

const answerHeaders = z.object({
  'x-request-id': z.string().meta({ description: 'Names the request in the log, the audit and problems.' }),
})

/** What any route may answer beside its own errors. */
function errorsOf(
  { body, query, errors = [], isForOperator }: Operation,
  { audience, isChange }: { audience: Audience; isChange: boolean },
): ApiErrorCode[] {
  const common: ApiErrorCode[] = ['request.invalid', 'internal', 'database.unavailable']
  if (body) common.push('request.malformed', 'request.too_large', 'request.unsupported_type', 'amount.invalid')
  if (query) common.push('cursor.invalid')
  if (audience === 'key') common.push('api_key.invalid', 'api_key.scope_missing')
  if (audience === 'owner') common.push('owner.session_invalid')
  if (audience !== 'everybody') common.push('rate.limited')
  if (isForOperator) common.push('operator.required')
  if (isChange) {
    common.push('idempotency.in_progress', 'idempotency.answer_lost', 'idempotency.key_reused')
    common.push('idempotency.too_many_keys', 'request.too_large')
  }
  return [...new Set([...common, ...errors])]
}

function toProblems(codes: readonly ApiErrorCode[]): Record<`${4 | 5}${string}`, ZodOpenApiResponseObject> {
  const statuses = [...new Set(codes.map((code) => errorStatuses[code]))].sort()
  return Object.fromEntries(
    statuses.map((status) => {
      const of = codes.filter((code) => errorStatuses[code] === status)
      const schema = { allOf: [{ $ref: '#/components/schemas/Problem' }, { properties: { code: { enum: of } } }] }
      const description = of.map((code) => `\`${code}\``).join(', ')
      return [status, { description, headers: answerHeaders, content: { [problemContentType]: { schema } } }]
    }),
  )
}
