import { BaseError, parseAmount } from '@protocolbanks/stream-protocol'
import type { AgentGrant } from './grant.ts'
import type { LedgerLimits } from './ledger.ts'

/** A decimal string in the token's units (`'0.05'`), or base units as a bigint. */
export type Amount = string | bigint

/** The agent's own limits, checked before anything is signed. What is left out is not limited. */
export type AgentLimits = {
  maxPerCall?: Amount | undefined
  /** What one stream may cost with all its segments; as much as one call when it is left out. */
  maxPerStream?: Amount | undefined
  /** Everything charged under the grant and in flight, at all payees, by earlier processes too. */
  maxTotal?: Amount | undefined
  /** Sum of the prices of the last sixty minutes of this process. */
  maxPerHour?: Amount | undefined
  /** What this paying fetch may spend in all, whatever was spent under the grant before it was made. */
  budget?: Amount | undefined
  /** Hosts that may be paid, with or without port: `api.example.com`, `localhost:4020`. */
  allowedHosts?: readonly string[] | undefined
  /** Further limits for what one host may get, with or without port: `{ 'api.example.com': { maxPerHour: '1' } }`. */
  perHost?: Readonly<Record<string, HostLimits>> | undefined
}

/** As those of the agent, for one host alone. */
export type HostLimits = {
  maxPerCall?: Amount | undefined
  maxPerStream?: Amount | undefined
  maxPerHour?: Amount | undefined
  /** Everything this agent has paid there; what earlier processes paid counts with a `store`. */
  maxTotal?: Amount | undefined
}

/** @throws InvalidAmountError, InvalidLimitError */
export function toLedgerLimits(limits: AgentLimits, grant: AgentGrant, decimals: number): LedgerLimits {
  return {
    ...toHostLimits(limits, decimals),
    grantTotalLimit: toAtomic('totalLimit', grant.totalLimit, decimals),
  }
}

/** @throws InvalidAmountError, InvalidLimitError */
export function toHostLimits(
  { maxPerCall, maxPerStream, maxPerHour, maxTotal }: HostLimits,
  decimals: number,
): LedgerLimits {
  return {
    maxPerCall: toAtomic('maxPerCall', maxPerCall, decimals),
    maxPerStream: toAtomic('maxPerStream', maxPerStream, decimals),
    maxTotal: toAtomic('maxTotal', maxTotal, decimals),
    maxPerHour: toAtomic('maxPerHour', maxPerHour, decimals),
  }
}

function toAtomic(name: string, amount: Amount | undefined, decimals: number): bigint | undefined {
  const value = typeof amount === 'string' ? parseAmount(amount, decimals) : amount
  if (value !== undefined && value < 0n) throw new InvalidLimitError(name, value)
  return value
}

export class InvalidLimitError extends BaseError {
  override readonly code = 'limit.invalid'
  constructor(name: string, value: bigint) {
    super('A limit is below zero.', {
      metaMessages: [`${name}: ${value}`, 'Leave a limit out to have none.'],
      docsPath: '/errors#limit-invalid',
    })
  }
}
