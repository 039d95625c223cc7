import type { Refusal } from '../policy/refusal.ts'

/** JSON-RPC 2.0's own codes, and ours from the range it leaves to servers. README.md lists them. */
export const rpcCodes = {
  parse: -32_700,
  invalidRequest: -32_600,
  unknownMethod: -32_601,
  invalidParams: -32_602,
  internal: -32_603,
  unauthorized: -32_010,
  refused: -32_011,
  budgetExceeded: -32_012,
  unavailable: -32_013,
} as const

export type RpcErrorBody = {
  code: number
  message: string
  data?: { code: string; retryable: boolean } & Record<string, unknown>
}

/** Ends a call with a JSON-RPC error. */
export class RpcError extends Error {
  readonly body: RpcErrorBody
  constructor(code: number, message: string, data?: RpcErrorBody['data']) {
    super(message)
    this.name = 'RpcError'
    this.body = { code, message, ...(data && { data }) }
  }
}

export function refusalError({ code, reason, values }: Refusal): RpcError {
  const isBudget = code === 'sponsor.budget_exceeded'
  return new RpcError(isBudget ? rpcCodes.budgetExceeded : rpcCodes.refused, reason, {
    ...values,
    code,
    retryable: isBudget,
  })
}

export function unavailableError(what: string): RpcError {
  return new RpcError(rpcCodes.unavailable, `${what} cannot be reached at the moment. Try again.`, {
    code: 'sponsor.unavailable',
    retryable: true,
  })
}
