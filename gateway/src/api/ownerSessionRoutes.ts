import { type Db, endOwnerSession, openOwnerSession, ownerActor, withChangeContext } from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { OwnerSignIn } from '../owners/ownerSignIn.ts'
import { maxMessageLength, readSignInMessage, signInStatement } from '../owners/signInMessage.ts'
import { ChainUnreachableError, type VerifyOwnerSignature } from '../owners/verifyOwnerSignature.ts'
import { ApiRefusal } from './apiProblem.ts'
import { writeRefusal } from './auditRefusals.ts'
import { describeOwnerSessions } from './openapi/operations/grantOperations.ts'
import { authenticateOwnerSession, type OwnerEnv } from './ownerCaller.ts'
import { requestIdOf } from './requests/requestIds.ts'
import { takeOne } from './takeOne.ts'
import { validBody } from './validate.ts'

export type OwnerSessionRoutesDeps = {
  db: Db
  clock(): number
  logger: Logger
  chain: { chainId: number }
  signIn: OwnerSignIn
}

/** ERC-6492 carries a factory and its call data: a Safe's are about 2 KB. */
const maxSignatureBytes = 8 * 1024

const sessionSchema = z.strictObject({
  message: z.string().min(1).max(maxMessageLength),
  signature: z
    .string()
    .regex(/^0x([0-9a-fA-F]{2})+$/, 'must be bytes in hex')
    .max(2 + 2 * maxSignatureBytes)
    .transform((text) => text as Hex),
})

/**
 * Sign-In with Ethereum (EIP-4361): a nonce, a message that the account signs, a session. Every refused and every
 * successful sign-in is audited; `limits` bound how many there can be.
 */
export function createOwnerSessionRoutes(deps: OwnerSessionRoutesDeps): Hono<OwnerEnv> {
  const { db, clock, logger, chain, signIn } = deps
  const { origins, nonces, limits, clientOf, verifySignature } = signIn
  const routes = new Hono<OwnerEnv>()

  routes.post('/nonce', (c) => {
    takeOne(limits.client, clientOf(c))
    const { nonce, expiresAt } = nonces.issue()
    const { chainId } = chain
    return c.json({ nonce, expiresAt, statement: signInStatement, version: '1', chainId, origins }, 201)
  })

  routes.post('/session', async (c) => {
    takeOne(limits.client, clientOf(c))
    takeOne(limits.all, 'all')
    const { message, signature } = await validBody(c, sessionSchema)
    const now = new Date(clock())
    const policy = { chainId: chain.chainId, origins, maxAgeMs: signIn.nonceTtlMs, now }
    const read = readSignInMessage(message, policy)
    if (!read.ok) throw await refusal(400, 'owner.message_invalid', 'The message is not for here.', read.reason)
    const { account, nonce, expirationTime } = read
    const known = nonces.check(nonce)
    if (known !== 'valid') {
      const what = known === 'expired' ? 'Its nonce has expired.' : 'Its nonce was not issued here.'
      throw await refusal(401, 'owner.nonce_invalid', 'The nonce cannot be used.', what, account)
    }
    takeOne(limits.account, account)
    if (!(await isSigned({ account, message, signature }))) {
      const what = `Account: ${account}, chain: ${chain.chainId}`
      throw await refusal(401, 'owner.signature_invalid', 'The account did not sign this message.', what, account)
    }
    const expiresAt = new Date(Math.min(now.getTime() + signIn.sessionTtlMs, expirationTime?.getTime() ?? Infinity))
    const context = { actor: ownerActor(account), requestId: requestIdOf(c) }
    const session = await withChangeContext(context, () => openOwnerSession(db, { account, nonce, now, expiresAt }))
    if (!session) {
      const what = 'Its nonce was used before.'
      throw await refusal(401, 'owner.nonce_invalid', 'The nonce cannot be used.', what, account)
    }
    const { id, token } = session
    return c.json({ id, account, token, expiresAt }, 201)
  })

  routes.delete('/session', authenticateOwnerSession(deps), async (c) => {
    const { id, actor } = c.get('owner')
    await withChangeContext({ actor, requestId: requestIdOf(c) }, () => endOwnerSession(db, id, new Date(clock())))
    return c.body(null, 204)
  })

  async function isSigned(of: Parameters<VerifyOwnerSignature>[0]): Promise<boolean> {
    try {
      return await verifySignature(of)
    } catch (error) {
      if (!(error instanceof ChainUnreachableError)) throw error
      logger.warn({ err: error, account: of.account }, 'a sign-in could not be verified')
      throw new ApiRefusal(503, error.code, error.shortMessage, {
        detail: error.metaMessages.join(' '),
        hint: 'Send the same message again in a few seconds.',
        headers: { 'retry-after': '2' },
      })
    }
  }

  /** Audited. */
  async function refusal(status: 400 | 401, code: string, title: string, detail: string, account?: string) {
    const entry = { actor: 'sign-in', action: 'owner_sign_in', subject: account ?? 'message', errorCode: code }
    await writeRefusal({ db, logger }, entry)
    return new ApiRefusal(status, code, title, { detail, hint: 'Ask for a nonce and sign a new message with it.' })
  }

  describeOwnerSessions(routes, { session: sessionSchema })
  return routes
}
