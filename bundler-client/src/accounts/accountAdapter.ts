import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Call } from '../calls/call.ts'

/**
 * What differs between ERC-7579 accounts for somebody who builds their UserOperations: how a nonce names the validator,
 * how calls are encoded, and what a signature must look like before there is one.
 */
export type AccountAdapter = {
  /** For logs, e.g. `stream-account`. */
  readonly name: string
  readonly entryPoint: EntryPoint
  /** 192-bit key whose nonces the validator (zero address: the owner) checks. Operations of one lane are sequential. */
  nonceKey(validator: Address, lane: number): bigint
  /** Call data that makes the account do this. */
  encodeExecute(calls: readonly Call[]): Hex
  /** The call by which the account installs a validator. */
  encodeInstall(params: { account: Address; module: Address; initData: Hex }): Call
  /** Recovers to somebody, but not to the signer: for gas estimation. */
  readonly dummySignature: Hex
}

export type EntryPoint = { version: '0.8'; address: Address }
