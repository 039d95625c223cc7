import {
  closeTransaction,
  type Db,
  type LeasedTransaction,
  leaseOpenTransaction,
  listRawTransactions,
  markTransactionIncluded,
  markTransactionSent,
  openTransaction,
  recordTransaction,
  releaseTransaction,
  renewTransactionLease,
  type SettlementTransaction,
  type SettlementWork,
  type TransactionEnd,
} from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { LeaseLostError } from '../worker/errors.ts'
import { createSettlementStore } from '../worker/settlementStore.ts'
import { applyVerdict, type SettleResult, type Verdict } from '../worker/verdict.ts'

/** What a worker writes about the transactions of its sender. `id`: throws LeaseLostError once another worker has it. */
export type TransactionStore = {
  /** The sender's open transaction, if somebody left it. */
  takeUp(): Promise<LeasedTransaction>
  /** Undefined: another worker was faster. */
  open(settlementIds: readonly string[]): Promise<SettlementTransaction | undefined>
  /** The version that is about to be sent. */
  record(id: string, version: { nonce: number; rawTransaction: Hex; hash: Hex }): Promise<void>
  sent(id: string): Promise<void>
  /** The block it is in, which is not deep enough yet; undefined: that block is gone. */
  included(id: string, block: { txHash: Hex; blockNumber: bigint } | undefined): Promise<void>
  /** The sender's signed transactions with nonces from here to below there, in their order. */
  recordedFrom(nonce: number, below: number): Promise<Hex[]>
  renew(id: string, until: Date): Promise<void>
  release(id: string): Promise<void>
  /** The end, and all verdicts, in one database transaction. Results in the order of the verdicts. */
  close(id: string, end: TransactionEnd, verdicts: readonly SettlementVerdict[]): Promise<SettleResult[]>
}

export type SettlementVerdict = { work: SettlementWork; verdict: Verdict }

export type TransactionStoreOptions = { sender: Address; owner: string; leaseMs: number; clock(): number }

/** Workers of the same sender have so long to go on with a transaction before its settlements are due by themselves. */
const takeUpMs = 60_000

export function createTransactionStore(
  db: Db,
  { sender, owner, leaseMs, clock }: TransactionStoreOptions,
): TransactionStore {
  const now = () => new Date(clock())
  const mustHold = async (id: string, isHeld: Promise<boolean>) => {
    if (!(await isHeld)) throw new LeaseLostError(id)
  }
  return {
    takeUp: () => leaseOpenTransaction(db, { sender, owner, leaseMs, now: now() }),
    open: (settlementIds) => openTransaction(db, { sender, settlementIds, owner, leaseMs, now: now() }),
    record: (id, version) => mustHold(id, recordTransaction(db, { id, owner, ...version })),
    sent: (id) => mustHold(id, markTransactionSent(db, { id, owner, now: now() })),
    included: (id, block) => mustHold(id, markTransactionIncluded(db, { id, owner, block })),
    recordedFrom: (nonce, below) => listRawTransactions(db, { sender, from: nonce, below }),
    renew: (id, until) => mustHold(id, renewTransactionLease(db, { id, owner, until })),
    release: (id) => mustHold(id, releaseTransaction(db, { id, owner, nextAttemptAt: new Date(clock() + takeUpMs) })),
    async close(id, end, verdicts) {
      let results: SettleResult[] = []
      const closing = closeTransaction(db, { id, owner, end }, async (tx) => {
        results = []
        for (const { work, verdict } of verdicts) {
          const held = { id: work.settlement.id, owner, token: work.grant.token, clock }
          try {
            results.push(await applyVerdict(createSettlementStore(tx, held), verdict))
          } catch (error) {
            // Another worker took this settlement over, and finds the transaction by its hashes.
            if (!(error instanceof LeaseLostError)) throw error
            results.push({ outcome: 'lost' })
          }
        }
      })
      await mustHold(id, closing)
      return results
    },
  }
}
