import type { FacilitatorRequest } from './readRequest.ts'

/** Who asks. `merchantId` null: the operator, or anybody where the facilitator is open. */
export type FacilitatorCaller = { merchantId: string | null }

/** Answer of POST /verify, as x402 has it. */
export type VerifyAnswer = { isValid: boolean; invalidReason?: string; invalidMessage?: string; payer?: string }

/** Answer of POST /settle, without `network`. `transaction` is empty where nothing is in the chain. */
export type SettleAnswer = {
  success: boolean
  transaction: string
  payer?: string | undefined
  amount?: string | undefined
  errorReason?: string
  errorMessage?: string
  extra?: Record<string, unknown> | undefined
}

/** One scheme of payments that servers elsewhere have verified and settled here. */
export type FacilitatorScheme = {
  scheme: string
  /** `extra` of GET /supported; undefined: it cannot be used now. */
  supported(): { extra?: Record<string, unknown> } | undefined
  /** @throws what the database or the chain say */
  verify(request: FacilitatorRequest, caller: FacilitatorCaller): Promise<VerifyAnswer>
  /** @throws what the database or the chain say, and then the same may be asked again */
  settle(request: FacilitatorRequest, caller: FacilitatorCaller): Promise<SettleAnswer>
}
