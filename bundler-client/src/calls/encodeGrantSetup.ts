import type { Hex } from '@protocolbanks/stream-protocol'
import { encodeExecute } from './encodeExecute.ts'
import { type GrantSetupParams, grantSetupCalls } from './grantSetupCalls.ts'

/** `grantSetupCalls` as the call data of one UserOperation by the owner. @throws InvalidTermsError, InvalidAmountError */
export function encodeGrantSetup(params: GrantSetupParams): Hex {
  return encodeExecute(grantSetupCalls(params))
}
