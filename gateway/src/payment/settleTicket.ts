import type { ServedCharge } from './servedCharge.ts'

/** What the server of a merchant is told of a payment that moves before its answer leaves. */
export type TicketSettled =
  /** The money has moved: the answer leaves with these headers. */
  | { outcome: 'settled'; headers: Record<string, string> }
  /** To be answered in the place of what was served. The charge is over; nothing has to be reported. */
  | { outcome: 'answer'; code: string; status: number; headers: Record<string, string>; body: string }

/** Settles what a call is paid with. @throws what the charge says */
export async function settleTicket(settle: NonNullable<ServedCharge['settle']>): Promise<TicketSettled> {
  const settled = await settle()
  if (settled.ok)
    return { outcome: 'settled', headers: { 'payment-response': settled.receipt, 'cache-control': 'private' } }
  const { code, response } = settled
  const headers = Object.fromEntries(response.headers)
  return { outcome: 'answer', code, status: response.status, headers, body: await response.text() }
}

/**
 * Nobody reported how a charge ended. What the meter has charged stands. What moves before the answer was not served as long
 * as it was not settled, and nobody pays; once it is, the answer is owed to the same payment.
 */
export function abandonCharge(charge: ServedCharge, settling: Promise<TicketSettled> | undefined): void {
  if (!charge.settle) charge.served(undefined)
  else if (settling) {
    settling.then(
      ({ outcome }) => outcome === 'settled' && charge.broken(),
      () => charge.broken(),
    )
  } else void charge.release()
}
