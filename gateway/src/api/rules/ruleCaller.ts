import type { Db, RuleHolder } from '@protocolbanks/stream-db'
import type { Context, Env } from 'hono'
import type { WebhookCaller } from '../webhookCaller.ts'

/** Who manages rules: a merchant, an owner, and the operator each their own. */
export type RuleCaller = Pick<WebhookCaller, 'merchantId' | 'account' | 'actor' | 'run'>

export type RuleRoutesDeps<E extends Env> = {
  db: Db
  clock(): number
  tokenDecimals: number
  callerOf(c: Context<E>): RuleCaller
  /** Counts a change. @throws ApiRefusal when there were too many */
  beforeChange?: ((c: Context<E>) => void) | undefined
}

export function holderOf({ merchantId, account }: RuleCaller): RuleHolder {
  return { merchantId, account }
}
