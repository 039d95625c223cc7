import type { Charge as JournalCharge } from '@protocolbanks/stream-db'
import type { Charge } from './createWatch.ts'

/** A charge of the journal as it is judged. */
export function fromJournal({ serviceId, amount, occurredAt, client, ...charge }: JournalCharge): Charge {
  const { requestId, account, grantId, payee } = charge
  return {
    requestId,
    account,
    grantId,
    payee,
    service: serviceId,
    amountAtomic: amount,
    atMs: occurredAt.getTime(),
    host: client ?? undefined,
  }
}
