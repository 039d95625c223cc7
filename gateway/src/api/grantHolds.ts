import type { Grant, GrantControl, OwnerFreeze } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { encodeFunctionData } from 'viem'

/** Who keeps a grant from being charged. A merchant does so for their own payee alone. */
export type GrantHold = {
  by: 'chain' | 'owner' | GrantControl['holder']
  merchantId: string | null
  state: 'frozen' | 'removed' | 'revoked'
  /** Null: the chain gives none. */
  reason: string | null
  since: Date | null
}

/** A call that the owner's account makes, in a UserOperation or as the account does otherwise. */
export type CallToSign = { to: Address; value: '0'; data: Hex }

export type GrantHoldFacts = {
  controls: readonly GrantControl[]
  freezes: readonly OwnerFreeze[]
  /** All grants of the account are frozen on the chain. */
  isAccountFrozen: boolean
  module: Address
}

/** Everything that holds a grant, and what the owner's account has to sign to lift what the chain holds. */
export function holdsOfGrant(
  { grantId, status }: Pick<Grant, 'grantId' | 'status'>,
  { controls, freezes, isAccountFrozen, module }: GrantHoldFacts,
): { heldBy: GrantHold[]; toSign: CallToSign[] } {
  const onChain = { by: 'chain', merchantId: null, since: null } as const
  const heldBy: GrantHold[] = []
  if (status === 'revoked') heldBy.push({ ...onChain, state: 'revoked', reason: null })
  if (status === 'frozen') heldBy.push({ ...onChain, state: 'frozen', reason: null })
  if (isAccountFrozen) heldBy.push({ ...onChain, state: 'frozen', reason: 'All grants of the account are frozen.' })
  for (const freeze of freezes) {
    if (freeze.grantId !== grantId) continue
    heldBy.push({ by: 'owner', merchantId: null, state: 'frozen', reason: freeze.reason, since: freeze.createdAt })
  }
  for (const control of controls) {
    if (control.grantId !== grantId) continue
    const { holder: by, merchantId, state, reason, createdAt: since } = control
    heldBy.push({ by, merchantId, state, reason, since })
  }
  const call = (data: Hex): CallToSign => ({ to: module, value: '0', data })
  const toSign: CallToSign[] = []
  const abi = sessionKeyValidatorAbi
  if (status === 'frozen') toSign.push(call(encodeFunctionData({ abi, functionName: 'unfreeze', args: [grantId] })))
  if (isAccountFrozen) toSign.push(call(encodeFunctionData({ abi, functionName: 'unfreezeAll' })))
  return { heldBy, toSign }
}
