/** What an account keeps in the prepaid reserve, in one token. Base units. */
export type ReservePool = {
  balance: bigint
  /** The part of `balance` that was asked back: nothing new is served from it. */
  withdrawing: bigint
  /** Unix seconds from which the owner can take it; 0: nothing is asked back. */
  withdrawableAt: number
}

export const emptyPool: ReservePool = { balance: 0n, withdrawing: 0n, withdrawableAt: 0 }
