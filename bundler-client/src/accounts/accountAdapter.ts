import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { PublicClient } from 'viem'
import type { Call } from '../calls/call.ts'
import type { NonceParts } from './nonceKey.ts'

/**
 * What differs between ERC-7579 accounts for somebody who builds their UserOperations: which EntryPoint they are for,
 * how a nonce names the validator, how calls are encoded, how a module comes and goes, and what a signature must look
 * like before there is one. docs/accounts.md explains each and how to add an account.
 */
export type AccountAdapter = {
  /** For logs, e.g. `stream-account`. */
  readonly name: string
  /**
   * What such accounts say of themselves (ERC-7579's `accountId`), up to the major version: `vendor.name.1` means every
   * `vendor.name.1.x.y`, also written `vendor.name.v1.x.y`.
   */
  readonly accountIds: readonly string[]
  readonly entryPoint: EntryPoint
  /** 192-bit key whose nonces the validator (zero address: the owner) checks. Operations of one lane are sequential. */
  nonceKey(validator: Address, lane: number): bigint
  /** The inverse, of a whole nonce. */
  fromNonce(nonce: bigint): NonceParts
  /** Call data that makes the account do this. */
  encodeExecute(calls: readonly Call[]): Hex
  /** The call by which the account installs a validator. */
  encodeInstall(params: { account: Address; module: Address; initData: Hex }): Call
  /** The call by which it takes one off. Some accounts keep a list whose order has to be read from the chain first. */
  encodeUninstall(
    chain: Pick<PublicClient, 'readContract'>,
    params: { account: Address; module: Address; deInitData: Hex },
  ): Promise<Call>
  /** Of our module, for gas estimation: recovers to somebody, but not to the signer. */
  readonly dummySignature: Hex
}

export type EntryPointVersion = '0.7' | '0.8'

export type EntryPoint = { version: EntryPointVersion; address: Address }
