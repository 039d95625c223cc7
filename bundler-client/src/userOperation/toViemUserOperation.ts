import type { UserOperation as ViemUserOperation } from 'viem/account-abstraction'
import type { UserOperation } from './userOperation.ts'

/** viem's type forbids fields that are present but undefined in places; so they are left out. */
export function toViemUserOperation({ eip7702Auth, ...op }: UserOperation): ViemUserOperation<'0.8'> {
  const present = Object.fromEntries(Object.entries(op).filter(([, value]) => value !== undefined))
  return { ...present, ...(eip7702Auth && { authorization: eip7702Auth }) } as ViemUserOperation<'0.8'>
}
