import { createHash } from 'node:crypto'
import { claimIdempotencyKey, type Db, endAttempt, withChangeContext } from '@protocolbanks/stream-db'
import type { Context, Env, MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import { problem } from '../../problem.ts'
import { createSecretBox, type SecretBox } from '../../webhooks/secretBox.ts'
import { bodyOf } from '../validate.ts'
import { type RequestCaller, sealKeyOf } from './requestCaller.ts'
import { requestIdOf } from './requestIds.ts'

export type IdempotentRequestsDeps<E extends Env> = {
  db: Db
  clock(): number
  logger: Logger
  callerOf(c: Context<E>): RequestCaller
}

/** Larger answers are not kept. */
const maxAnswerBytes = 256 * 1024
/** Headers of an answer that are given again with it. */
const keptHeaders = ['content-type', 'location', 'cache-control', 'retry-after']

type KeptAnswer = { headers: Record<string, string>; body: string | null }

/**
 * Whatever changes something runs in its caller's name, which the audit writes down, and once where it carries an
 * `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same request with the same key is given the first
 * answer again for a day. What is kept of an answer is sealed with the caller's own key, as it may carry a secret.
 */
export function idempotentRequests<E extends Env>(deps: IdempotentRequestsDeps<E>): MiddlewareHandler<E> {
  const { db, clock, logger, callerOf } = deps
  return async (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next()
    const caller = callerOf(c)
    const context = { actor: caller.actor, requestId: requestIdOf(c) }
    const header = c.req.header('idempotency-key')
    if (header === undefined) return withChangeContext(context, next)
    const key = parseKey(header)
    if (key === undefined) return invalidKey()
    const named = { caller: caller.id, key, fingerprint: await fingerprintOf(c) }
    const claim = await claimIdempotencyKey(db, named, new Date(clock()))
    if (claim.kind !== 'run') return refuseOrRepeat(c, claim, named)
    const { attempt } = claim
    await withChangeContext({ ...context, attempt }, next)
    const { status } = c.res
    try {
      await endAttempt(db, { attempt, status, answer: await keep(c, named) })
    } catch (err) {
      // The change stands and the caller has the answer. Who asks again is told that it was lost.
      logger.warn({ err, requestId: requestIdOf(c) }, 'the answer to an idempotent request could not be kept')
    }
  }
}

type Named = { caller: string; key: string }
type Claim = Awaited<ReturnType<typeof claimIdempotencyKey>>

function refuseOrRepeat(c: Context, claim: Exclude<Claim, { kind: 'run' }>, named: Named): Response {
  const detail = `Idempotency-Key: ${named.key.slice(0, 80)}`
  switch (claim.kind) {
    case 'answered': {
      if (claim.answer === null) return lost(detail, claim.subject)
      const kept = openAnswer(c, claim.answer, named)
      if (!kept) return lost(detail, claim.subject)
      const { headers, body } = kept
      return new Response(body, { status: claim.status, headers: { ...headers, 'idempotency-replayed': 'true' } })
    }
    case 'answer_lost':
      return lost(detail, claim.subject)
    case 'in_progress':
      return problem(409, 'idempotency.in_progress', 'The same request is being run.', {
        detail,
        hint: 'Ask again in a moment with the same key.',
        headers: { 'retry-after': '1' },
      })
    case 'other_request':
      return problem(422, 'idempotency.key_reused', 'The key has named another request.', {
        detail,
        hint: 'Take a new key for every request, and keep it for repeating that one alone.',
      })
    case 'too_many':
      return problem(429, 'idempotency.too_many_keys', 'You have as many keys as are kept.', {
        detail,
        hint: 'A key is forgotten after a day. Send requests that are safe to repeat without one.',
        headers: { 'retry-after': '3600' },
      })
  }
}

function lost(detail: string, subject: string | null): Response {
  return problem(409, 'idempotency.answer_lost', 'The request was run, and its answer is not there any more.', {
    detail: subject === null ? detail : `${detail}. Changed: ${subject}.`,
    hint: 'Look at what it changed. Nothing was done twice.',
  })
}

function invalidKey(): Response {
  return problem(400, 'request.invalid', 'The request is not valid.', {
    detail: 'Idempotency-Key: must be 1 to 255 visible characters of ASCII, with or without quotes',
    hint: 'Send a UUID.',
  })
}

/** A string of RFC 8941, as the draft has it, or the same without its quotes, as many clients send it. */
function parseKey(header: string): string | undefined {
  const quoted = /^"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"$/.exec(header.trim())?.[1]
  return quoted ?? /^[\x21\x23-\x7e]{1,255}$/.exec(header.trim())?.[0]
}

async function fingerprintOf(c: Context): Promise<string> {
  const { pathname, search } = new URL(c.req.url)
  const hash = createHash('sha256').update(JSON.stringify([c.req.method, pathname, search]))
  return hash.update(await bodyOf(c.req.raw)).digest('hex')
}

async function keep(c: Context, named: Named): Promise<string | null> {
  const text = c.res.body === null ? null : await c.res.clone().text()
  if (text !== null && Buffer.byteLength(text) > maxAnswerBytes) return null
  const headers = keptHeaders.flatMap((name) => {
    const value = c.res.headers.get(name)
    return value === null ? [] : [[name, value] as const]
  })
  const kept: KeptAnswer = { headers: Object.fromEntries(headers), body: text }
  return boxOf(c).seal(JSON.stringify(kept), contextOf(named))
}

/** Undefined when the caller's secret is another by now: it was sealed with the one before. */
function openAnswer(c: Context, answer: string, named: Named): KeptAnswer | undefined {
  try {
    return JSON.parse(boxOf(c).open(answer, contextOf(named)))
  } catch {
    return undefined
  }
}

function boxOf(c: Context): SecretBox {
  return createSecretBox([sealKeyOf(c)])
}

function contextOf({ caller, key }: Named): string {
  return `${caller} ${key}`
}
