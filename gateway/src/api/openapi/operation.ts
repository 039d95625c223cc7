import type { Hono } from 'hono'
import type { z } from 'zod'
import type { ApiErrorCode } from './errorStatuses.ts'

/** What the document of the API says of one route. The schemas are those that the route validates with. */
export type Operation = {
  /** Its name, unique and for good: generated clients are named by it. */
  id: string
  summary: string
  /** What a summary has no room for. */
  description?: string
  /** Query parameters. */
  query?: z.ZodObject
  body?: z.ZodType
  /** By status: a JSON body, `none`, or the content type of something else. */
  answers: Readonly<Record<number, z.ZodType | 'none' | `${string}/${string}`>>
  /** Beside those that every route has. */
  errors?: readonly ApiErrorCode[]
  /** A merchant's key is refused. */
  isForOperator?: true
}

type Route = `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} /${string}`

const operations = new WeakMap<object, Operation>()

/**
 * Says what routes do that are registered already, for the document of the API.
 *
 * @throws when there is no such route: a description is not left behind
 * @example describe(routes, { 'GET /': { id: 'listMerchants', summary: 'Merchants, newest first.', answers } })
 */
// biome-ignore lint/suspicious/noExplicitAny: of any app, whatever its variables are
export function describe(routes: Hono<any>, described: Readonly<Record<Route, Operation>>): void {
  for (const [route, operation] of Object.entries(described)) {
    const [method, path] = route.split(' ')
    // The last of a chain is the handler, those before it are in front of it.
    const found = routes.routes.findLast((one) => one.method === method && one.path === path)
    if (!found) throw new Error(`There is no route ${route} to describe.`)
    operations.set(found.handler, operation)
  }
}

/** Undefined: nobody described it. */
export function operationOf(handler: object): Operation | undefined {
  return operations.get(handler)
}
