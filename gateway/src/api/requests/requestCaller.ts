import { createHash } from 'node:crypto'
import type { Context } from 'hono'

/** Who a request is of, for what is counted and kept about requests. */
export type RequestCaller = {
  /** An API key's id, `operator` for the key of the configuration, or the id of an owner's session. */
  id: string
  /** Whose requests are counted together, however many keys or sessions they have: a merchant's id, or an account. */
  holder: string
  /** As the audit names them. */
  actor: string
  isOperator: boolean
}

/** 32 bytes that follow from the caller's own secret, which nobody keeps here: what they seal, only the caller opens. */
export function sealKeyOf(c: Context): Buffer {
  const authorization = c.req.header('authorization') ?? ''
  return createHash('sha256').update('answers to idempotent requests').update(authorization.slice(7).trim()).digest()
}
