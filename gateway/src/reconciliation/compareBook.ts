import type { ChannelBook, Difference } from '@protocolbanks/stream-db'
import { maxMeterAmount } from '../meter/meter.ts'

/** What others than Postgres say of a channel. Base units. */
export type Observed = {
  /** Whether the grant's session key signed the newest voucher. */
  isSigned: boolean
  /** What the module says it paid; undefined for a grant of an epoch that is over, of which it says nothing. */
  onChain: bigint | undefined
  /** What the meter says was charged; undefined when it does not hold the channel. */
  live: bigint | undefined
}

/**
 * Where the books of one grant at one payee disagree, each with the authority first: voucher >= charged, charged =
 * journal, charged = meter, settled = chain, settled = events of the chain.
 */
export function compareBook(book: ChannelBook, { isSigned, onChain, live }: Observed): Difference[] {
  const { grantId, payee, cumulativeAmount, signature, charged, journal, settled, events } = book
  const found: Difference[] = []
  const say = (kind: Difference['kind'], expected: bigint, actual: bigint, detail: string) =>
    found.push({ kind, grantId, payee, expected, actual, detail })

  if (cumulativeAmount < charged) {
    say('voucher_below_charged', charged, cumulativeAmount, 'More was charged than the newest voucher allows.')
  }
  if (!isSigned && (signature !== null || charged > 0n)) {
    say('voucher_unsigned', cumulativeAmount, 0n, "The newest voucher is not signed by the grant's session key.")
  }
  if (journal !== charged) {
    say('journal', journal, charged, 'The rows of the journal do not add up to what the channel says was charged.')
  }
  if (live !== undefined && live > charged) {
    say('meter', live, charged, 'The meter charged what the journal does not have.')
  }
  if (live !== undefined && live < charged && live < maxMeterAmount) {
    say('meter', charged, live, 'The meter does not know of all that the journal has, and may charge too much.')
  }
  const paid = onChain ?? events
  if (settled !== paid)
    say('settled', paid, settled, 'The chain paid another amount than the channel says was settled.')
  if (onChain !== undefined && events !== onChain) {
    say('events', onChain, events, 'The mirrored events of payments do not add up to what the chain paid.')
  }
  return found
}
