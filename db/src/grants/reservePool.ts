/** What an account keeps in the prepaid reserve, in one token. Base units. */
export type ReservePool = {
  balance: bigint
  /** Asked back: nothing new is served from it. Once vouchers were paid it may be more than the balance. */
  withdrawing: bigint
  /** Unix seconds from which the owner can take it; 0: nothing is asked back. */
  withdrawableAt: number
}

export const emptyPool: ReservePool = { balance: 0n, withdrawing: 0n, withdrawableAt: 0 }
