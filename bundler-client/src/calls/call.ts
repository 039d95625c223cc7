import type { Address, Hex } from '@protocolbanks/stream-protocol'

/** One call an account makes. */
export type Call = {
  to: Address
  /** Wei. */
  value: bigint
  data: Hex
}
