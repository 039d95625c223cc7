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
/** Who a route lets in: an API key, that of a merchant's server which charges, an owner's session, or everybody. */
type Audience = 'key' | 'server' | 'owner' | 'everybody'
type Route = { method: string; path: string; operation: Operation }

/** An app whose described routes are in the document, below `at` of the whole API. */
export type DocumentedApp = { app: Pick<Hono, 'routes'>; at: '' | `/${string}` }

const { version } = createRequire(import.meta.url)('../../../package.json') as { version: string }

/**
 * The OpenAPI 3.1 document of the management API and of the charges API, from the routes of `apps`, the schemas that they
 * validate with, and what `describe` says of them.
 *
 * @param basePath where all of it is mounted, for instance `/api`
 */
export function createOpenApi(apps: readonly DocumentedApp[], basePath: string): OpenApiDocument {
  const paths: Record<string, Partial<Record<Method, ZodOpenApiOperationObject>>> = {}
  for (const route of apps.flatMap(describedRoutes)) {
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
        'Merchants, services, grants, settlements and what happened to them; and the charges API, by which a server of a merchant has its own calls paid. Amounts are decimal strings of the token; the same name with `Atomic` is in base units. Lists, idempotency, limits and errors: docs/api.md.',
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
function describedRoutes({ app, at }: DocumentedApp): Route[] {
  return app.routes.flatMap(({ method, path, handler }) => {
    const operation = operationOf(handler)
    return operation ? [{ method, path: `${at}${path}`, operation }] : []
  })
}

function toOperation({ method, path, operation }: Route): ZodOpenApiOperationObject {
  const { id, summary, query, body, answers, isForOperator } = operation
  const audience = audienceOf(path)
  const isChange = method !== 'GET' && (audience === 'key' || audience === 'owner')
  const description = isForOperator ? 'For the operator.' : operation.description
  const headers = audience === 'server' ? undefined : answerHeaders
  const isEnding = `${method} ${path}` === 'DELETE /owners/session'
  const scope = routeScopes[`${method} ${path.replace(/\/$/, '')}`]
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
  return {
    operationId: audience === 'owner' ? `owner${id.charAt(0).toUpperCase()}${id.slice(1)}` : id,
    summary,
    tags: [tagOf(path)],
    security: isEnding ? [{ ownerSession: [] }] : securityOf(audience, scope),
    ...(description !== undefined && { description }),
    requestParams: {
      ...(names.length > 0 && { path: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))) }),
      ...(query && { query }),
      ...(isChange && { header: idempotencyHeader }),
    },
    ...(body && {
      requestBody: { required: !body.safeParse(undefined).success, content: { 'application/json': { schema: body } } },
    }),
    responses: { ...toAnswers(answers, headers), ...toProblems(errorsOf(operation, { audience, isChange }), headers) },
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
  if (/^\/charges(\/|$)/.test(path)) return 'server'
  return /^\/(owners|alert-links|openapi\.json|reference)(\/|$)/.test(path) ? 'everybody' : 'key'
}

function tagOf(path: string): string {
  const [, first = '', second = ''] = path.split('/')
  if (first === 'openapi.json') return 'reference'
  return first === 'owner' || first === 'owners' ? `owner-${second}` : first
}

function toAnswers(
  answers: Operation['answers'],
  headers: z.ZodObject | undefined,
): Record<`${1 | 2 | 3 | 4 | 5}${string}`, ZodOpenApiResponseObject> {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => {
      const done = { description: 'Done.', ...(headers && { headers }) }
      if (answer === 'none') return [status, done]
      const [type, schema] = typeof answer === 'string' ? [answer, z.string()] : ['application/json', answer]
      return [status, { ...done, content: { [type]: { schema } } }]
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
  if (audience === 'server') return [...new Set([...serverErrors, ...errors])]
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

/** The charges API says 400 to what is no JSON too, has no keys of idempotency and no limit of requests. */
const serverErrors: readonly ApiErrorCode[] = [
  'api_key.invalid',
  'api_key.scope_missing',
  'request.too_large',
  'internal',
  'database.unavailable',
  'meter.unavailable',
  'meter.full',
]

function toProblems(
  codes: readonly ApiErrorCode[],
  headers: z.ZodObject | undefined,
): Record<`${4 | 5}${string}`, ZodOpenApiResponseObject> {
  const statuses = [...new Set(codes.map((code) => errorStatuses[code]))].sort()
  return Object.fromEntries(
    statuses.map((status) => {
      const of = codes.filter((code) => errorStatuses[code] === status)
      const schema = { allOf: [{ $ref: '#/components/schemas/Problem' }, { properties: { code: { enum: of } } }] }
      const description = of.map((code) => `\`${code}\``).join(', ')
      return [status, { description, ...(headers && { headers }), content: { [problemContentType]: { schema } } }]
    }),
  )
}
