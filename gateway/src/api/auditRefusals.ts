import { appendRefusal, type Db } from '@protocolbanks/stream-db'
import { problemSchema } from '@protocolbanks/stream-protocol'
import type { MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { ApiEnv } from './caller.ts'

/** Writes down who was not let in, or may not do what they asked for: 401 and 403, by method and path. */
export function auditRefusals({ db, logger }: { db: Db; logger: Logger }): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    await next()
    const { status } = c.res
    if (status !== 401 && status !== 403) return
    const errorCode = status === 401 ? 'api_key.invalid' : await codeOf(c.res)
    const actor = c.get('caller')?.actor ?? 'unknown'
    await writeRefusal(
      { db, logger },
      { actor, action: 'api_request', subject: `${c.req.method} ${c.req.path}`, errorCode },
    )
  }
}

/** As the answer says: a problem, and a short one. */
async function codeOf(response: Response): Promise<string> {
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => undefined)
  return problemSchema.safeParse(body).data?.code ?? 'operator.required'
}

/** The refusal stands, whether or not it can be written down. */
export async function writeRefusal(
  { db, logger }: { db: Db; logger: Logger },
  refusal: Parameters<typeof appendRefusal>[1],
): Promise<void> {
  try {
    await appendRefusal(db, refusal)
  } catch (err) {
    logger.warn({ err, ...refusal }, 'a refusal could not be audited')
  }
}
