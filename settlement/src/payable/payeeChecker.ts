import type { PayeeAnswer, PayeeBlock } from '@protocolbanks/stream-db'
import type { Logger } from 'pino'

export type PayeeCheckerDeps = {
  /** Blocked payees whose moment has come; nobody else asks about them for a while. */
  takeDue(limit: number): Promise<PayeeBlock[]>
  /** Whether the token takes a transfer to the payee now. */
  isPaid(block: PayeeBlock): Promise<boolean>
  record(answers: readonly PayeeAnswer[]): Promise<void>
  logger: Logger
}

const payeesPerRound = 20

/**
 * Asks tokens again about payees whom they refused to pay, by a transfer of nothing that is only tried out. Answers how
 * many are paid again: what waits for them is due then.
 *
 * @throws what the chain's client or the database says
 */
export async function checkPayees({ takeDue, isPaid, record, logger }: PayeeCheckerDeps): Promise<number> {
  let count = 0
  for (const block of await takeDue(payeesPerRound)) {
    const { token, payee, since } = block
    const blocked = !(await isPaid(block))
    await record([{ token, payee, blocked }])
    if (blocked) continue
    count++
    logger.info({ token, payee, since }, 'the token pays this payee again')
  }
  return count
}
