import { type Log, parseEventLogs } from 'viem'
import type { SignedAuthorization } from './authorization.ts'
import { eip3009Abi } from './eip3009Abi.ts'

/**
 * Whether a transaction's logs say that this authorisation moved this money: its use, and right after it at the token the
 * transfer. A transfer elsewhere in the transaction may belong to another authorisation, and a cancelled one has a use as
 * well but no transfer.
 */
export function isPaidBy(
  logs: readonly Log[],
  { token, from, to, value, nonce }: Pick<SignedAuthorization, 'token' | 'from' | 'to' | 'value' | 'nonce'>,
): boolean {
  const ofToken = logs.filter((log) => log.address.toLowerCase() === token.toLowerCase())
  return ofToken.some((log, index) => {
    const [use] = parseEventLogs({ abi: eip3009Abi, eventName: 'AuthorizationUsed', logs: [log] })
    if (!use || use.args.authorizer !== from || use.args.nonce !== nonce) return false
    const next = ofToken[index + 1]
    const [transfer] = next ? parseEventLogs({ abi: eip3009Abi, eventName: 'Transfer', logs: [next] }) : []
    return transfer?.args.from === from && transfer.args.to === to && transfer.args.value === value
  })
}
