import type { Address } from '@protocolbanks/stream-protocol'

/** What an owner is called where it is written down who did something; the policy of the audit holds them to it. */
export function ownerActor(account: Address): string {
  return `owner:${account.toLowerCase()}`
}
