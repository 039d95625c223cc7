/** One charged call of a grant, as the sentinel sees it. */
export type SpendEvent = {
  atMs: number
  /** Base units of the grant's token. */
  amountAtomic: bigint
  payee: string
  service: string
  /** Where the call came from, an address or the hash of one, if the gateway tells. */
  host?: string | undefined
}
